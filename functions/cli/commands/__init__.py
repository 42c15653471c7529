"""The commands, one module a noun: parse, call an operation, present its result."""
