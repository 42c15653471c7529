"""One page of the outbox a time; when more is waiting, a continuation says so.

The tick also forgets what is over: inbox rows that nothing happened to for a week, outbox rows published
more than a week ago.
No broker redelivers what is that old.
"""

import logging
from collections.abc import Callable, Sequence

from events import CATALOGUE
from events.continuation import TICK_SUBJECT, RelayContinued
from events.foreign import Tick
from shared.eventing.event import Event, Outgoing
from shared.eventing.function import Done
from shared.eventing.publishing import Publisher
from shared.store import inbox, outbox
from shared.store.relay import Relayed, publish_pending
from shared.store.unit_of_work import Store, UnitOfWork

ACCEPTS = CATALOGUE.of(Tick, RelayContinued)

PAGE = 100
MAX_PAGES = 25
KEEP_DAYS = 7
_FORGET_AT_ONCE = 1000

logger = logging.getLogger("sentinel.event_relay")


def prepare(event: Event, work: UnitOfWork) -> int | Done:
    """The number of the page to publish."""
    if isinstance(event.data, RelayContinued):
        return event.data.page
    inbox.forget_old(work.connection, KEEP_DAYS, _FORGET_AT_ONCE)
    outbox.forget_published(work.connection, KEEP_DAYS, _FORGET_AT_ONCE)
    return 1


def publisher(store: Store, sink: Publisher) -> Callable[[int], Relayed]:
    """What to do between the transactions: publish a page in a transaction of its own."""

    def perform(_: int) -> Relayed:
        relayed = publish_pending(store, sink, PAGE)
        for refused in relayed.refused:
            logger.error("the broker refuses %s: %s", refused.event.attributes["id"], refused.reason)
        if relayed.failure:
            logger.warning("the outbox waits for the next tick: %s", relayed.failure)
        return relayed

    return perform


def conclude(event: Event, page: int, relayed: Relayed, work: UnitOfWork) -> Sequence[Outgoing]:
    """The continuation, when there is more."""
    if not relayed.more or page >= MAX_PAGES:
        return []
    return [Outgoing(RelayContinued(page=page + 1), TICK_SUBJECT)]
