"""The events that the sink does not have yet: in the spool, and a few in memory while the disk takes none."""

import logging
import threading
from collections import deque

from agent.publishing.spool import Spool, Spooled, SpoolInUse
from shared.eventing.event import WireEvent

HELD = 8
"""Events in memory. One has 20 KiB where a node has eight GPUs, and never more than 1 MiB."""

logger = logging.getLogger("sentinel.agent.publishing")


class Backlog:
    """Waiting events in their order, for one thread that adds and one that delivers.

    A full disk, or one that takes no file, loses nothing while the sink takes events: they wait in memory. While the
    sink is away as well, the oldest in memory goes first, and is counted in `dropped`.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._held: deque[WireEvent] = deque()  # newer than everything in the spool
        self._dropped = 0
        self._refused = False  # whether the disk took no event the last time
        self._mutex = threading.Lock()

    @property
    def dropped(self) -> int:
        """Events so far that made room for newer ones."""
        return self._dropped + self._spool.dropped

    @property
    def waiting(self) -> int:
        """Events in the spool and in memory."""
        return self._spool.waiting + len(self._held)

    def open(self) -> None:
        """Takes the spool, with the events of an earlier agent. Raises SpoolInUse."""
        try:
            self._spool.open()
        except OSError as error:
            logger.error("the spool cannot be used: %s", error)
        if self._spool.waiting:
            logger.info("events that wait from before: %d", self._spool.waiting)

    def add(self, event: WireEvent, *, durable: bool = True) -> None:
        """Keeps an event, on disk where that is possible. Raises nothing.

        One that need not be durable stays in memory while it is the only one that waits: a sink that takes every event
        at once leaves nothing to write. At most one such event is lost with the agent.
        """
        with self._mutex:
            alone = not self.waiting
            self._held.append(event)
            if durable or not alone:
                self._spool_held()

    def keep(self) -> None:
        """Brings what is in memory to the disk, where that is possible. Raises nothing."""
        with self._mutex:
            self._spool_held()

    def oldest(self, count: int) -> list[Spooled]:
        """The oldest events, at most `count`."""
        with self._mutex:
            found = self._spool.oldest(count) if self._spool.waiting else []
            return found + [Spooled(event) for event in list(self._held)[: count - len(found)]]

    def settle(self, spooled: Spooled) -> None:
        """The event waits no longer."""
        if spooled.segment:
            self._spool.settle(spooled)
            return
        with self._mutex:
            if spooled.event in self._held:
                self._held.remove(spooled.event)
                return
            for moved in self._spool.oldest(1):  # to the spool meanwhile, and nothing was before it
                if moved.event == spooled.event:
                    self._spool.settle(moved)

    def _spool_held(self) -> None:
        try:
            self._spool.open()
            while self._held:
                self._spool.append(self._held[0])
                self._held.popleft()
        except (OSError, SpoolInUse) as error:
            if not self._refused:
                logger.error("events are held in memory alone: the spool takes none: %s", error)
            self._refused = True
        else:
            if self._refused:
                logger.info("the spool takes events again")
            self._refused = False
        if len(self._held) > HELD:
            self._held.popleft()
            self._dropped += 1
