"""Publishes what waits in the outbox: what nobody published right after its commit.

The relay function does this on every tick, and the command line right after it stored something. A page is
locked, sent and marked in one transaction, and other relays skip what is locked, so several may run at
once. A crash in between sends the page again under the same ids, and consumers know those by then. A function that
publishes its own rows at this moment (`PublisherAfterCommit`) may send one a second time too.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from shared.eventing.event import Queued, WireEvent
from shared.eventing.publishing import Publisher, PublishingFailed

PAGE_SECONDS = 4.0
"""After this long no further event of a page is sent.

With the longest wait for one answer (10 s) this stays below the time that PostgreSQL lets a function's transaction be
silent (DATABASE_IDLE_IN_TRANSACTION_TIMEOUT, 15 s). A page that is cut off there would be sent again, and again.
"""


class OutboxTransaction(Protocol):
    """An open transaction on the outbox."""

    def lock_pending(self, limit: int) -> list[Queued]:
        """The oldest unpublished events that are due; other relays skip them until this transaction ends."""

    def mark_published(self, ids: Sequence[uuid.UUID]) -> None:
        """The sink has these rows."""

    def postpone(self, ids: Sequence[uuid.UUID]) -> None:
        """The sink did not take these rows now; each waits a little longer every time."""

    def mark_refused(self, row_id: uuid.UUID, reason: str) -> None:
        """The sink will never take this row."""


class Outbox(Protocol):
    """The store of the outbox; `shared.store.unit_of_work.Store` is one."""

    def begin(self) -> AbstractContextManager[OutboxTransaction]:
        """A transaction that commits at the end of the block. Raises StoreUnavailable."""


@dataclass(frozen=True)
class Refused:
    """An event that the broker will never take, and why."""

    event: WireEvent
    reason: str


@dataclass(frozen=True)
class Relayed:
    """What became of a page.

    postponed: how many events the sink did not take now. failure: why the first of them was not taken, "" when there
    is none. away: whether the sink did not answer, so that the rest of the page was left for later. more: whether
    another page may be waiting, and is worth trying now.
    """

    published: int
    refused: tuple[Refused, ...]
    postponed: int
    failure: str
    away: bool
    more: bool


def publish_pending(
    store: Outbox, publisher: Publisher, limit: int, clock: Callable[[], float] = time.monotonic
) -> Relayed:
    """Sends the oldest unpublished events, at most `limit`, for PAGE_SECONDS. Raises StoreUnavailable.

    An event that is refused for good stays in the outbox with the reason. One that the sink does not take now is sent
    again later, by itself: the Kafka ingress answers 503 to an event of over 1 MiB for ever. Neither holds up another.
    A sink that does not answer ends the page. The event that it did not answer is not the first of the next one.
    """
    with store.begin() as work:
        page = work.lock_pending(limit)
        published, postponed, refused, failures, away = [], [], [], [], False
        ends_at, slow = clock() + PAGE_SECONDS, False
        for pending in page:
            if slow := clock() >= ends_at:
                break
            try:
                publisher.publish(pending.event)
            except PublishingFailed as error:
                if error.permanent:
                    work.mark_refused(pending.id, str(error))
                    refused.append(Refused(pending.event, str(error)))
                    continue
                postponed.append(pending.id)
                failures.append(str(error))
                if away := not error.answered:
                    break
            else:
                published.append(pending.id)
        work.mark_published(published)
        work.postpone(postponed)
    more = (len(page) == limit or slow) and not away
    return Relayed(len(published), tuple(refused), len(postponed), next(iter(failures), ""), away, more)
