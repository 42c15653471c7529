"""What every sink of the agent does: the suite that HTTP and Kafka both pass."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest

from agent.publishing.delivery import Sink
from agent.publishing.publisher import SpoolingPublisher
from agent.publishing.spool import Spool
from shared.eventing.event import WireEvent
from shared.eventing.publishing import PublishingFailed
from tests.agent.publishing.sinks import event, ids

LARGE = event(99, '"' + "x" * 200_000 + '"')
"""An event that the other side refuses for good."""


class World(Protocol):
    """A sink, and the other side of it."""

    @property
    def sink(self) -> Sink:
        """The publisher under test."""

    def received(self, count: int) -> Sequence[WireEvent]:
        """What has arrived, in its order, when at least so many events have."""

    def away(self) -> AbstractContextManager[None]:
        """Nobody answers until the block ends."""


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class PublisherContract:
    def test_an_event_arrives_as_it_was_sent(self, world: World) -> None:
        attributes = {**event(1).attributes, "time": "2026-01-01T00:00:00Z", "place": 'Zürich "100 %" %41 \U0001f525'}
        sent = WireEvent(attributes, b'{"message": "Z\xc3\xbcrich\\n"}')
        world.sink.publish(sent)
        assert list(world.received(1)) == [sent]

    def test_events_of_a_node_arrive_in_their_order(self, world: World) -> None:
        for number in range(30):
            world.sink.publish(event(number))
        assert ids(world.received(30)) == list(range(30))

    def test_an_event_that_is_refused_for_good_says_so_and_does_not_harm_the_next(self, world: World) -> None:
        world.sink.publish(event(1))
        with pytest.raises(PublishingFailed) as failure:
            world.sink.publish(LARGE)
        assert (failure.value.permanent, failure.value.answered) == (True, True)
        world.sink.publish(event(2))
        assert ids(world.received(2)) == [1, 2]

    def test_a_sink_that_is_away_says_so_and_takes_events_when_it_is_back(self, world: World) -> None:
        world.sink.publish(event(1))
        with world.away(), pytest.raises(PublishingFailed) as failure:
            world.sink.publish(event(2))
        assert (failure.value.permanent, failure.value.answered) == (False, False)
        world.sink.publish(event(3))
        assert [number for number in ids(world.received(2)) if number != 2] == [1, 3]

    def test_a_closed_sink_can_be_used_again(self, world: World) -> None:
        world.sink.close()
        world.sink.publish(event(1))
        world.sink.close()
        world.sink.publish(event(2))
        assert ids(world.received(2)) == [1, 2]

    def test_an_outage_loses_nothing_and_keeps_the_order(self, world: World, tmp_path: Path) -> None:
        """An event whose answer got lost arrives twice, under its id. The first arrivals are in order."""
        publisher = SpoolingPublisher(world.sink, Spool(tmp_path, 8 * 1024 * 1024), draw=lambda: 0.05)
        publisher.start()
        for number in range(5):
            publisher.publish(event(number))
        until(lambda: publisher.state.published == 5)
        with world.away():
            for number in range(5, 15):
                publisher.publish(LARGE if number == 10 else event(number))
            until(lambda: publisher.state.failures > 0)
        until(lambda: publisher.state.waiting == 0)
        publisher.close(5)
        expected = [number for number in range(15) if number != 10]
        assert list(dict.fromkeys(ids(world.received(14)))) == expected
        assert (publisher.state.published, publisher.state.refused, publisher.state.dropped) == (14, 1, 0)
