"""Who goes next when a reservation is released.

The order of the queue is (1) priority, higher first, (2) the time of queueing, (3) the plan's id.

A plan may be let past an earlier one that competes with it (that waits for a scope in which it counts) while that
one still does not fit: small plans do not idle behind a large one. But no plan is overtaken more than
MAX_OVERTAKES times: after that everything that competes with it waits, its capacity drains, and it goes next, as
long as it fits an empty scope at all. Plans of higher priority do not overtake: they are ahead.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

MAX_OVERTAKES = 8


@dataclass(frozen=True)
class Place:
    """A place in the queue. waits_for: the scopes, as text, that were full when it was last decided."""

    plan_id: uuid.UUID
    priority: int
    queued_at: datetime
    overtaken: int
    waits_for: frozenset[str]

    @property
    def order(self) -> tuple[int, datetime, uuid.UUID]:
        """Sorts a queue: first goes first."""
        return (-self.priority, self.queued_at, self.plan_id)


def ahead(queue: Sequence[Place], mine: Place, counts_in: frozenset[str]) -> list[Place]:
    """The places ahead of `mine` that compete for a scope that its plan counts in, first goes first."""
    return sorted(
        (place for place in queue if place.order < mine.order and not place.waits_for.isdisjoint(counts_in)),
        key=lambda place: place.order,
    )


def blocker(earlier: Sequence[Place]) -> Place | None:
    """The first of those ahead that has been overtaken often enough: nobody that competes with it goes past."""
    return next((place for place in earlier if place.overtaken >= MAX_OVERTAKES), None)
