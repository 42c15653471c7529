"""What the agent reports, on its way to the sink: a spool on disk, and HTTP or Kafka behind one interface.

    publish(event) -> backlog (memory, spool) -> delivery (a thread) -> sink (K_SINK over HTTP, or a Kafka topic)

The loop that measures never waits for the sink. A fault is in the spool when `publish` returns. A reading goes to the
sink from memory, and into the spool when the sink does not take it at once: kill -9 loses one reading at most. An event
leaves the spool when the sink has it, so it may be sent twice, under the same id, and consumers know it by then.
"""
