"""The publisher that the loop uses, over HTTP on loopback."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.publishing.publisher import SpoolingPublisher
from agent.publishing.spool import Spool, SpoolInUse
from shared.eventing.event import MAX_EVENT_BYTES
from shared.eventing.publishing import HttpPublisher
from tests.agent.publishing.sinks import AWAY, ScriptedSink, event, ids
from tests.support import brokers

LIMIT = 64 * 1024 * 1024


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def delivering() -> bool:
    """Whether the thread of a publisher lives."""
    return any(thread.name == "publishing" for thread in threading.enumerate())


def test_an_event_reaches_the_sink_while_the_loop_goes_on(tmp_path: Path) -> None:
    with brokers.serving() as broker:
        publisher = SpoolingPublisher(HttpPublisher(broker.url, connections=1), Spool(tmp_path, LIMIT))
        publisher.start()
        for number in range(20):
            publisher.publish(event(number))
        until(lambda: publisher.state.published == 20)
        assert [one.id for one in broker.events] == [str(number) for number in range(20)]
        assert publisher.state.waiting == 0
        publisher.close(5)
    assert not delivering()


def test_what_an_earlier_agent_left_is_sent_first(tmp_path: Path) -> None:
    sink = ScriptedSink(lambda _: AWAY)
    first = SpoolingPublisher(sink, Spool(tmp_path, LIMIT), draw=lambda: 0.999)
    first.start()
    for number in range(3):
        first.publish(event(number))
    first.close(5)
    assert sink.closed
    well = ScriptedSink()
    second = SpoolingPublisher(well, Spool(tmp_path, LIMIT))
    second.start()
    second.publish(event(3))
    second.close(5)
    assert ids(well.received) == [0, 1, 2, 3]


def test_closing_sends_what_waits_without_waiting_for_the_backoff(tmp_path: Path) -> None:
    away = threading.Event()
    away.set()
    sink = ScriptedSink(lambda _: AWAY if away.is_set() else None)
    publisher = SpoolingPublisher(sink, Spool(tmp_path, LIMIT), draw=lambda: 0.999)
    publisher.start()
    publisher.publish(event(1))
    until(lambda: publisher.state.failures == 1)  # the next attempt is a second away
    publisher.publish(event(2))
    away.clear()
    publisher.close(30)
    assert ids(sink.received) == [1, 2]


def test_closing_waits_no_longer_than_it_may_for_a_sink_that_hangs(tmp_path: Path) -> None:
    hang, hanging = threading.Event(), threading.Event()

    class Hanging(ScriptedSink):
        def publish(self, event: object) -> None:
            hanging.set()
            hang.wait()

    publisher = SpoolingPublisher(Hanging(), Spool(tmp_path, LIMIT))
    publisher.start()
    publisher.publish(event(1), durable=False)
    hanging.wait()
    publisher.publish(event(2), durable=False)
    publisher.close(0.01)
    hang.set()
    left = Spool(tmp_path, LIMIT)
    left.open()
    assert ids([one.event for one in left.oldest(10)]) == [1, 2]
    left.close()
    until(lambda: not delivering())


def test_an_event_that_no_broker_can_carry_is_refused_at_once(tmp_path: Path) -> None:
    publisher = SpoolingPublisher(ScriptedSink(), Spool(tmp_path, LIMIT))
    publisher.start()
    publisher.publish(event(1, '"' + "x" * MAX_EVENT_BYTES + '"'))
    assert (publisher.state.refused, publisher.state.waiting) == (1, 0)
    publisher.close(5)


def test_a_spool_that_another_agent_has_ends_the_start(tmp_path: Path) -> None:
    class Taken(Spool):
        def open(self) -> None:
            raise SpoolInUse("another agent has it")

    publisher = SpoolingPublisher(ScriptedSink(), Taken(tmp_path, LIMIT))
    with pytest.raises(SpoolInUse):
        publisher.start()
