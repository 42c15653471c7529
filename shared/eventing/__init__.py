"""CloudEvents: the base of event types, a strict codec, the HTTP contract of a function, publishing."""
