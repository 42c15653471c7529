"""The publisher that the agent's loop uses: it takes an event at once, and a thread delivers it."""

import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from agent.publishing.backlog import Backlog
from agent.publishing.delivery import Delivery, Sink
from agent.publishing.spool import Spool
from shared.errors import EventTooLarge
from shared.eventing import codec
from shared.eventing.event import WireEvent


@dataclass(frozen=True)
class PublishingState:
    """What the exporter shows. The counts of events are since the start of the agent.

    published: the sink has them. refused: it will never take them. dropped: the oldest, which made room for newer ones.
    unreadable: records of the spool. waiting: events that the sink does not have yet; the spool has spool_bytes.
    failures: attempts that failed since the sink took an event.
    """

    published: int
    refused: int
    dropped: int
    unreadable: int
    waiting: int
    spool_bytes: int
    failures: int


class SpoolingPublisher:
    """Publishes events that may wait for the sink. One thread calls `start`, `publish` and `close`.

    draw: a random number from 0 up to 1, for the backoff.
    """

    def __init__(self, sink: Sink, spool: Spool, *, draw: Callable[[], float] = random.random) -> None:
        self._sink = sink
        self._spool = spool
        self._backlog = Backlog(spool)
        self._delivery = Delivery(sink, self._backlog, spool, draw)
        self._arrivals: SimpleQueue[None] = SimpleQueue()
        self._closing = threading.Event()
        self._ends_at = math.inf
        self._thread = threading.Thread(target=self._deliver, name="publishing", daemon=True)

    @property
    def state(self) -> PublishingState:
        """The counts at this moment."""
        delivery, spool = self._delivery, self._spool
        return PublishingState(
            delivery.published,
            delivery.refused,
            self._backlog.dropped,
            spool.unreadable,
            self._backlog.waiting,
            spool.size,
            delivery.failures,
        )

    def start(self) -> None:
        """Begins to deliver, first what an earlier agent left in the spool.

        Raises SpoolInUse. A directory that cannot be used is no error: events wait in memory then.
        """
        self._backlog.open()
        self._thread.start()

    def publish(self, event: WireEvent, *, durable: bool = True) -> None:
        """Takes an event. Waits for no sink, and raises nothing.

        A durable one survives the agent where the disk takes it. Another one does so once the sink does not take it at
        once, or a newer event comes.
        """
        try:
            codec.check_size(event)
        except EventTooLarge as error:
            self._delivery.refuse(event, str(error))
            return
        self._backlog.add(event, durable=durable)
        self._arrivals.put(None)

    def close(self, seconds: float) -> None:
        """Tries at once to deliver what waits, for so many seconds, and ends. What is left stays in the spool."""
        self._ends_at = time.monotonic() + seconds
        self._closing.set()
        self._arrivals.put(None)
        self._thread.join(seconds)
        self._backlog.keep()
        self._spool.close()
        self._sink.close()

    def _deliver(self) -> None:
        while True:
            closes = self._closing.is_set()  # read first: closing begins one more attempt
            pause = self._delivery.step()
            if closes and (pause != 0 or time.monotonic() >= self._ends_at):
                return
            if pause is None:
                self._arrivals.get()  # one for an event that has gone already costs a step that finds nothing
            elif pause > 0:  # a new event does not end the backoff
                self._closing.wait(pause)
