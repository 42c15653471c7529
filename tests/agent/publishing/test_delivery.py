"""In which order events reach the sink, and what becomes of one that it does not take."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.publishing.backlog import HELD, Backlog
from agent.publishing.delivery import PATIENCE, Delivery
from agent.publishing.spool import Spool
from shared.eventing.event import WireEvent
from shared.eventing.publishing import PublishingFailed
from tests.agent.publishing.sinks import AWAY, LATER, REFUSED, ScriptedSink, event, ids


class FullDisk(Spool):
    """A spool whose disk is full when a test says so."""

    full = False

    def append(self, event: WireEvent) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        super().append(event)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[FullDisk]:
    found = FullDisk(tmp_path, 64 * 1024 * 1024)
    found.open()
    yield found
    found.close()


@pytest.fixture
def backlog(spool: Spool) -> Backlog:
    return Backlog(spool)


@pytest.fixture
def sink() -> ScriptedSink:
    return ScriptedSink()


@pytest.fixture
def delivery(sink: ScriptedSink, backlog: Backlog, spool: Spool) -> Delivery:
    return Delivery(sink, backlog, spool, lambda: 0.5)


def add(backlog: Backlog, *numbers: int) -> None:
    for number in numbers:
        backlog.add(event(number))


def drain(delivery: Delivery) -> None:
    while delivery.step() == 0:
        pass


def only(number: int, failure: PublishingFailed) -> ScriptedSink:
    """A sink that fails one event alone."""
    return ScriptedSink(lambda one: failure if one.attributes["id"] == str(number) else None)


def test_events_are_sent_in_their_order_and_then_nothing_waits(
    delivery: Delivery, backlog: Backlog, sink: ScriptedSink
) -> None:
    add(backlog, *range(10))
    drain(delivery)
    assert (ids(sink.received), delivery.step(), backlog.waiting) == (list(range(10)), None, 0)
    assert (delivery.published, delivery.failures) == (10, 0)


@pytest.mark.parametrize("failure", [AWAY, LATER])
def test_a_sink_that_takes_nothing_now_is_asked_less_and_less_often_and_gets_everything_later(
    delivery: Delivery, backlog: Backlog, sink: ScriptedSink, failure: PublishingFailed
) -> None:
    add(backlog, 1, 2)
    sink.failure = lambda _: failure
    assert [delivery.step() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    add(backlog, 3)
    sink.failure = lambda _: None
    drain(delivery)
    assert (ids(sink.received), delivery.failures) == ([1, 2, 3], 0)


def test_an_event_that_is_refused_holds_up_no_other_and_is_kept_aside(
    backlog: Backlog, spool: Spool, tmp_path: Path
) -> None:
    sink = only(2, REFUSED)
    delivery = Delivery(sink, backlog, spool, lambda: 0.5)
    add(backlog, 1, 2, 3)
    drain(delivery)
    assert (ids(sink.received), delivery.refused, backlog.waiting) == ([1, 3], 1, 0)
    kept = (tmp_path / "refused").read_text()
    assert '"id":"2"' in kept
    assert "two GPUs have the same index" in kept


def test_an_event_that_is_answered_with_not_now_for_ever_does_not_hold_up_the_others_for_ever(
    backlog: Backlog, spool: Spool, tmp_path: Path
) -> None:
    sink = only(1, LATER)
    delivery = Delivery(sink, backlog, spool, lambda: 0.5)
    add(backlog, 1, 2, 3)
    for _ in range(PATIENCE - 1):
        assert delivery.step() != 0
    drain(delivery)
    assert (ids(sink.received), delivery.refused, delivery.failures) == ([2, 3], 1, 0)
    assert f"answered so {PATIENCE} times, while another event was taken: 503" in (tmp_path / "refused").read_text()


def test_a_sink_that_answers_everything_with_not_now_loses_nothing(
    delivery: Delivery, backlog: Backlog, sink: ScriptedSink
) -> None:
    add(backlog, 1, 2)
    sink.failure = lambda _: LATER
    for _ in range(3 * PATIENCE):
        assert delivery.step() != 0
    sink.failure = lambda _: None
    drain(delivery)
    assert (ids(sink.received), delivery.refused) == ([1, 2], 0)


def test_a_defect_of_the_sink_ends_no_delivery(backlog: Backlog, spool: Spool, tmp_path: Path) -> None:
    class Defective(ScriptedSink):
        def publish(self, event: WireEvent) -> None:
            if event.attributes["id"] == "1":
                raise KeyError("node_id")
            super().publish(event)

    sink = Defective()
    delivery = Delivery(sink, backlog, spool, lambda: 0.5)
    add(backlog, 1, 2)
    for _ in range(PATIENCE - 1):
        assert delivery.step() != 0
    drain(delivery)
    assert (ids(sink.received), delivery.refused) == ([2], 1)
    assert "a defect: KeyError" in (tmp_path / "refused").read_text()


def test_a_full_disk_loses_nothing_while_the_sink_takes_events(
    delivery: Delivery, backlog: Backlog, spool: FullDisk, sink: ScriptedSink
) -> None:
    add(backlog, 1)
    spool.full = True
    for number in range(2, 30):
        add(backlog, number)
        drain(delivery)
    assert (ids(sink.received), backlog.dropped, backlog.waiting) == (list(range(1, 30)), 0, 0)


def test_a_full_disk_and_a_sink_that_is_away_cost_the_oldest_that_are_not_on_disk(
    delivery: Delivery, backlog: Backlog, spool: FullDisk, sink: ScriptedSink
) -> None:
    sink.failure = lambda _: AWAY
    add(backlog, 1, 2)
    spool.full = True
    add(backlog, *range(3, 23))
    assert (backlog.dropped, backlog.waiting) == (20 - HELD, 2 + HELD)
    spool.full = False
    add(backlog, 23)
    assert spool.waiting == backlog.waiting == 3 + HELD
    sink.failure = lambda _: None
    drain(delivery)
    assert ids(sink.received) == [1, 2, *range(23 - HELD, 24)]


def test_a_directory_that_cannot_be_used_is_used_when_it_can(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in the way")
    spool = Spool(tmp_path / "state" / "spool", 64 * 1024 * 1024)
    backlog, sink = Backlog(spool), ScriptedSink(lambda _: AWAY)
    delivery = Delivery(sink, backlog, spool, lambda: 0.5)
    backlog.open()
    add(backlog, 1, 2)
    assert (delivery.step(), backlog.waiting, spool.waiting) == (0.5, 2, 0)
    (tmp_path / "state").unlink()
    add(backlog, 3)
    assert spool.waiting == 3
    sink.failure = lambda _: None
    drain(delivery)
    assert ids(sink.received) == [1, 2, 3]
    spool.close()


def test_an_event_that_need_not_be_durable_leaves_the_disk_alone_while_the_sink_takes_it(
    delivery: Delivery, backlog: Backlog, sink: ScriptedSink, tmp_path: Path
) -> None:
    for number in range(3):
        backlog.add(event(number), durable=False)
        drain(delivery)
    assert (ids(sink.received), backlog.waiting) == ([0, 1, 2], 0)
    assert not list(tmp_path.glob("*.segment"))


def test_an_event_that_the_sink_does_not_take_at_once_is_spooled(
    delivery: Delivery, backlog: Backlog, spool: FullDisk, sink: ScriptedSink
) -> None:
    sink.failure = lambda _: AWAY
    backlog.add(event(1), durable=False)
    assert spool.waiting == 0
    delivery.step()
    assert spool.waiting == 1
    backlog.add(event(2), durable=False)
    assert spool.waiting == 2
    sink.failure = lambda _: None
    drain(delivery)
    assert ids(sink.received) == [1, 2]


def test_a_newer_event_brings_the_one_before_to_the_spool_and_neither_is_sent_twice(
    backlog: Backlog, spool: FullDisk
) -> None:
    class Slow(ScriptedSink):
        def publish(self, one: WireEvent) -> None:
            if not self.received:
                backlog.add(event(2))  # while the first is on its way
                assert spool.waiting == 2
            super().publish(one)

    sink = Slow()
    delivery = Delivery(sink, backlog, spool, lambda: 0.5)
    backlog.add(event(1), durable=False)
    drain(delivery)
    assert (ids(sink.received), backlog.waiting) == ([1, 2], 0)
