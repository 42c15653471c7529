"""What becomes of the oldest event when it is sent.

    the sink has it                it leaves the backlog, and the next one is sent
    refused: it is the event       it is counted and kept aside, and the next one is sent
    not now, or no answer          it stays, and the next attempt follows after a backoff

An event that a sink answers with "not now" for ever would hold up all others. So after PATIENCE such answers the one
behind it is tried as well. When the sink takes that one, the event is at fault, and counts as refused.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from agent.publishing.backlog import Backlog
from agent.publishing.backoff import full_jitter
from agent.publishing.spool import Spool, Spooled
from shared.eventing.event import WireEvent
from shared.eventing.publishing import Publisher, PublishingFailed

PATIENCE = 10
"""Attempts; with the backoff between them they take two and a half minutes on average."""

logger = logging.getLogger("sentinel.agent.publishing")


class Sink(Publisher, Protocol):
    """Where the events go; HttpPublisher and KafkaPublisher are two."""

    def close(self) -> None:
        """Ends the connections."""


class Delivery:
    """Sends the oldest event of a backlog, one a step.

    draw: a random number from 0 up to 1, for the backoff. published, refused: events so far. failures: attempts that
    failed since the sink took an event.
    """

    def __init__(self, sink: Sink, backlog: Backlog, spool: Spool, draw: Callable[[], float]) -> None:
        self.published = 0
        self.refused = 0
        self.failures = 0
        self._sink = sink
        self._backlog = backlog
        self._spool = spool
        self._draw = draw

    def step(self) -> float | None:
        """Sends one event. Returns the seconds to wait before the next step, or None when nothing waits."""
        patient = self.failures + 1 < PATIENCE
        waiting = self._backlog.oldest(1 if patient else 2)
        if not waiting:
            return None
        failure = self._send(waiting[0])
        if failure is None:
            return 0.0 if self._backlog.waiting else None
        if failure.answered and len(waiting) > 1:
            failures = self.failures
            if self._send(waiting[1]) is None:
                reason = f"answered so {failures} times, while another event was taken: {failure}"
                self.refuse(waiting[0].event, reason)
                self._backlog.settle(waiting[0])
                return 0.0
            self.failures = failures
        self._backlog.keep()
        with suppress(OSError):
            self._spool.sync()
        return full_jitter(self.failures, self._draw())

    def refuse(self, event: WireEvent, reason: str) -> None:
        """Counts an event that can never be sent, and keeps it aside."""
        logger.error("an event is refused, and kept aside: %s: %s", event.attributes["id"], reason)
        self.refused += 1
        self._spool.aside.refused(event, reason)

    def _send(self, spooled: Spooled) -> PublishingFailed | None:
        """Why the event stays; None when it is settled."""
        taken = True
        try:
            self._publish(spooled.event)
        except PublishingFailed as failure:
            if not failure.permanent:
                self.failures += 1
                if self.failures == 1:
                    logger.warning("the sink takes no event now; they wait in the spool: %s", failure)
                return failure
            self.refuse(spooled.event, str(failure))
            taken = False
        self._backlog.settle(spooled)
        self.published += taken
        if self.failures:
            logger.info(
                "the sink answers again, after %d failures; events that wait: %d", self.failures, self._backlog.waiting
            )
            self.failures = 0
        return None

    def _publish(self, event: WireEvent) -> None:
        """Raises PublishingFailed. A defect may be about this event alone: then PATIENCE gives it up, too."""
        try:
            self._sink.publish(event)
        except PublishingFailed:
            raise
        except Exception as defect:
            logger.exception("a defect of the publisher")
            raise PublishingFailed(f"a defect: {defect!r}", permanent=False) from None
