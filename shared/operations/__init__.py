"""The use cases, one module each: (work, command, actor) -> result.

No SQL, no HTTP and no event type is in here. The edge (a function, the command line, the REST face) calls an operation
and turns its result into an event, an answer or lines of text.
"""
