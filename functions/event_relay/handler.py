"""One page of the outbox at a time; when more is waiting, a continuation says so.

The tick also forgets what is over: inbox rows that nothing happened to for a week, and outbox rows that were published
more than a week ago. No broker redelivers what is that old.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from events import CATALOGUE
from events.continuation import TICK_SUBJECT, RelayContinued
from events.foreign import Tick
from shared.eventing.event import Event, Outgoing
from shared.eventing.function import Done

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.eventing.relay import Relayed
    from shared.store.unit_of_work import UnitOfWork

ACCEPTS = CATALOGUE.of(Tick, RelayContinued)

MAX_PAGES = 25
KEEP_DAYS = 7
_FORGET_AT_ONCE = 1000


def prepare(event: Event, work: UnitOfWork) -> int | Done:
    """The number of the page to publish."""
    if isinstance(event.data, RelayContinued):
        return event.data.page
    work.forget_answered(KEEP_DAYS, _FORGET_AT_ONCE)
    return 1


def conclude(event: Event, page: int, relayed: Relayed, work: UnitOfWork) -> Sequence[Outgoing]:
    """The continuation, when there is more."""
    if not relayed.more or page >= MAX_PAGES:
        return []
    return [Outgoing(RelayContinued(page=page + 1), TICK_SUBJECT)]
