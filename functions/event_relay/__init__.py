"""On the tick: publishes outbox rows that no reply carried."""
