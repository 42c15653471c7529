"""Publishes what waits in the outbox: what nobody published right after its commit.

The relay function does this on every tick, and the command line right after it stored something. A page is
locked, sent and marked in one transaction, and other relays skip what is locked, so several may run at
once. A crash in between sends the page again under the same ids, and consumers know those by then. A function that
publishes its own rows at this moment (`PublisherAfterCommit`) may send one a second time too.
"""

from dataclasses import dataclass

from shared.eventing.event import WireEvent
from shared.eventing.publishing import Publisher, PublishingFailed
from shared.store import outbox
from shared.store.unit_of_work import Store


@dataclass(frozen=True)
class Refused:
    """An event that the broker will never take, and why."""

    event: WireEvent
    reason: str


@dataclass(frozen=True)
class Relayed:
    """What became of a page. failure: why the rest of it was left for later, "" when nothing was.

    more: whether another page may be waiting, and is worth trying now.
    """

    published: int
    refused: tuple[Refused, ...]
    failure: str
    more: bool


def publish_pending(store: Store, publisher: Publisher, limit: int) -> Relayed:
    """Sends the oldest unpublished events, at most `limit`. Raises StoreUnavailable.

    An event that is refused for good stays in the outbox with the reason, and holds up nobody. A sink that is away ends
    the page: the events after it would fare no better.
    """
    with store.begin() as work:
        page = outbox.lock_pending(work.connection, limit)
        published, refused, failure = [], [], ""
        for pending in page:
            try:
                publisher.publish(pending.event)
            except PublishingFailed as error:
                if not error.permanent:
                    failure = str(error)
                    break
                outbox.mark_refused(work.connection, pending.id, str(error))
                refused.append(Refused(pending.event, str(error)))
            else:
                published.append(pending.id)
        outbox.mark_published(work.connection, published)
    return Relayed(len(published), tuple(refused), failure, more=len(page) == limit and not failure)
