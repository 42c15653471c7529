"""What the agent reports, on its way to the sink: a spool on disk, and HTTP or Kafka behind one interface.

    publish(event) -> spool (on disk) -> delivery (a thread) -> sink (K_SINK over HTTP, or a Kafka topic)

The loop that measures never waits for the sink: `publish` returns when the event is in the spool. An event leaves the
spool when the sink has it, so it may be sent twice, under the same id, and consumers know it by then.
"""
