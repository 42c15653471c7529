"""What operations that change a rollout report to their callers."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from shared.models.deployment import Deployment, OwnedField
from shared.models.plan import ActionPlan


@dataclass(frozen=True)
class PlanWasProposed:
    """A plan waits for policy: a new one, one whose hold expired before its execution, or one that nobody decided."""

    plan: ActionPlan


@dataclass(frozen=True)
class PlanIsDue:
    """An approved plan waits for its execution: its cluster was away, its execution was cut off, or it never began."""

    plan: ActionPlan


@dataclass(frozen=True)
class ReservationWasReleased:
    """A workload holds less than before, and some plan in the queue waits for that.

    released: by resource, how much less; see shared.policy.resources.released.
    """

    workload_id: uuid.UUID
    released: Mapping[str, int | None]


@dataclass(frozen=True)
class RevisionWasApplied:
    """A cluster has taken a revision. taken, left: fields of other field managers that were, and were not, taken."""

    deployment: Deployment
    taken: tuple[OwnedField, ...] = ()
    left: tuple[OwnedField, ...] = ()


@dataclass(frozen=True)
class RevisionWasRefused:
    """A cluster will never take a revision, or never give one back.

    deployment: the revision, or the newest one of a workload whose removal was refused.
    """

    deployment: Deployment
    reason: str
    message: str


@dataclass(frozen=True)
class RevisionWasRemoved:
    """The objects of a workload were deleted; `deployment` is its newest revision."""

    deployment: Deployment


@dataclass(frozen=True)
class RevisionIsHealthy:
    """A revision became healthy, or a Job completed."""

    deployment: Deployment
    reason: str
    message: str


@dataclass(frozen=True)
class RevisionWasRolledBack:
    """A revision that restores an earlier one became healthy."""

    deployment: Deployment
    reason: str
    message: str


@dataclass(frozen=True)
class RevisionIsUnhealthy:
    """A revision did not become healthy, or is not healthy any more."""

    deployment: Deployment
    reason: str
    message: str


@dataclass(frozen=True)
class FleetIsSuspect:
    """So many nodes of a cluster complain at once that the cause is a common one. share: of its GPU nodes, 0 to 1.

    window: within which they complained.
    """

    cluster: str
    nodes: tuple[str, ...]
    share: float
    window: timedelta
    message: str


@dataclass(frozen=True)
class GpusAreIdle:
    """All GPUs of a workload were idle for a window. reclaim_at: when they may be taken from it."""

    workload_id: uuid.UUID
    cluster: str
    gpus: int
    usd_per_hour: Decimal
    window: timedelta
    reclaim_at: datetime


RevisionResult = (
    RevisionWasApplied
    | RevisionWasRefused
    | RevisionWasRemoved
    | RevisionIsHealthy
    | RevisionWasRolledBack
    | RevisionIsUnhealthy
)
RolloutResult = PlanWasProposed | PlanIsDue | ReservationWasReleased | FleetIsSuspect | GpusAreIdle | RevisionResult
