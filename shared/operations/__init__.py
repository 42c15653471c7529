"""The use cases of Sentinel, one module each: `(work, command, actor) -> result`.

An operation reads through an open unit of work, decides, and writes. It knows no SQL, no HTTP and no event type: its
result says in the domain's words what happened. Functions, the REST face and the command line call it, and turn the
result into an event, an answer or a line of text.

The unit of work belongs to the caller, who commits it: what several operations do in one unit of work happens together.
"""
