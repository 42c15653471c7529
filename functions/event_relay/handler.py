"""One page of the outbox at a time; when more is waiting, a continuation says so.

The tick also deletes what is over and older than it is kept; see shared.models.retention. It deletes 2,000 rows a
second of each table, which is more than the functions handle events. Of the history it looks at 200 rows a second of
each table. Dead letters whose event was handled go at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from events import CATALOGUE
from events.continuation import TICK_SUBJECT, RelayContinued
from events.foreign import Tick
from shared.eventing.event import Event, Outgoing
from shared.eventing.function import Done
from shared.models.actor import Actor
from shared.operations import dead_letters, denials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.eventing.relay import Relayed
    from shared.models.retention import Retention
    from shared.store.unit_of_work import UnitOfWork

ACCEPTS = CATALOGUE.of(Tick, RelayContinued)

ACTOR = Actor.function("event-relay")

MAX_PAGES = 25
_FORGET_AT_ONCE = 10_000
_HISTORY_PAGE = 1_000


def prepare(event: Event, work: UnitOfWork, *, retention: Retention) -> int | Done:
    """The number of the page to publish."""
    if isinstance(event.data, RelayContinued):
        return event.data.page
    work.forget_old(retention, _FORGET_AT_ONCE)
    work.forget_history(retention.history, _HISTORY_PAGE)
    dead_letters.drop_handled(work, ACTOR)
    denials.conclude(work)
    return 1


def conclude(event: Event, page: int, relayed: Relayed, work: UnitOfWork) -> Sequence[Outgoing]:
    """The continuation, when there is more."""
    if not relayed.more or page >= MAX_PAGES:
        return []
    return [Outgoing(RelayContinued(page=page + 1), TICK_SUBJECT)]
