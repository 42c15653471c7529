"""What verification does with its events. All of them are cues to look; what is seen decides.

An applied or removed revision, an API server's notice, a fault or a breach name what to look at. The tick
looks at what nobody announced: revisions under verification or removal, then settled ones that were not
looked at for a while, one page at a time. So a lost notice costs time, never truth. Plans whose time has come are
announced a page at a time too: all of a cluster's are due at once when it comes back.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from events import CATALOGUE
from events.continuation import TICK_SUBJECT, VerificationContinued
from events.deployment import DeploymentApplied, DeploymentRemoved
from events.foreign import ObjectAdded, ObjectDeleted, ObjectReferenceData, ObjectUpdated, Tick
from events.plan import PlanApproved, PlanProposed
from events.telemetry import GpuFault, SloBreached
from functions.health_verification.judging import Judge
from functions.health_verification.observing import Seen, Watch
from shared.errors import PoisonEvent
from shared.eventing.event import Event, Outgoing
from shared.eventing.function import Done
from shared.models.deployment import Deployment
from shared.models.lifecycle import OBSERVED_REVISIONS, SETTLED_REVISIONS, WATCHED_REVISIONS

if TYPE_CHECKING:
    from shared.store.unit_of_work import UnitOfWork

ACCEPTS = CATALOGUE.of(
    DeploymentApplied,
    DeploymentRemoved,
    GpuFault,
    SloBreached,
    ObjectAdded,
    ObjectUpdated,
    ObjectDeleted,
    Tick,
    VerificationContinued,
)

PAGE = 50
MAX_PAGES = 20
SETTLED_PAGE = 20
UNWATCHED = timedelta(seconds=2)
"""A revision that was looked at this recently is left to the next tick."""

DRIFT_INTERVAL = timedelta(seconds=60)
NODES_INTERVAL = timedelta(minutes=10)
"""How often the nodes of a cluster are read: their GPU products change when somebody adds nodes, or a driver."""

CLUSTERS_PAGE = 5
ANNOUNCE_AGAIN = timedelta(seconds=15)
STALE = timedelta(minutes=1)
"""A continuation that comes this late is dropped: the ticks since have looked at the oldest first."""


def prepare(event: Event, work: UnitOfWork) -> Watch | Done:
    """What to look at. Raises PoisonEvent for a revision that does not exist."""
    match event.data:
        case DeploymentApplied() | DeploymentRemoved():
            deployment = work.deployments.get(event.data.deployment)
            if deployment is None:
                raise PoisonEvent(f"there is no deployment {event.data.deployment}")
            return _watch(_open([deployment]))
        case ObjectReferenceData():
            return _watch(work.deployments.live_object(event.data.kind, event.data.namespace, event.data.name))
        case GpuFault():
            return _watch(_of_workloads(event.data.workloads, work))
        case SloBreached():
            return _watch(_of_workloads((event.data.workload,), work))
        case VerificationContinued():
            return _continued(event.data, work)
        case _:
            return _page(work.now, 1, work)


def conclude(event: Event, watch: Watch, seen: Seen, work: UnitOfWork) -> Sequence[Outgoing]:
    """Judges what was seen. The first event is the reply, and the others wait for the relay: proposals come first,
    then the continuation, that pages need not wait for each other.
    """
    judge = Judge(event, work)
    judge.judge_all(watch.deployments, seen.revisions)
    for cluster, products in seen.products.items():
        work.catalogue.add_products(cluster, products)
    due = _announce(work) if watch.tick else []
    outgoing = [*judge.outgoing, *due]
    if (watch.more or len(due) == PAGE) and watch.page < MAX_PAGES:
        started = event.data.started_at if isinstance(event.data, VerificationContinued) else work.now
        outgoing.append(Outgoing(VerificationContinued(started_at=started, page=watch.page + 1), TICK_SUBJECT))
    return sorted(outgoing, key=_urgency)


def _urgency(told: Outgoing) -> int:
    if isinstance(told.data, PlanProposed):
        return 0
    return 1 if isinstance(told.data, VerificationContinued) else 2


def _continued(data: VerificationContinued, work: UnitOfWork) -> Watch | Done:
    """The next page, unless newer ticks have long taken over. Raises PoisonEvent for what no tick has told."""
    if data.page < 1 or data.started_at.tzinfo is None or data.started_at > work.now:
        raise PoisonEvent("no tick continues like this: page must be 1 or more, startedAt a moment in the past")
    if work.now - data.started_at > STALE:
        return Done()
    return _page(data.started_at, data.page, work)


def _page(started: datetime, page: int, work: UnitOfWork) -> Watch:
    found = work.deployments.oldest_observed(WATCHED_REVISIONS, started - UNWATCHED, PAGE)
    more = len(found) == PAGE
    clusters: tuple[str, ...] = ()
    if page == 1:
        clusters = work.catalogue.take_unread(work.now, work.now - NODES_INTERVAL, CLUSTERS_PAGE)
        found += work.deployments.oldest_observed(SETTLED_REVISIONS, started - DRIFT_INTERVAL, SETTLED_PAGE)
    return Watch(tuple(found), tick=True, page=page, more=more, clusters=clusters)


def _watch(deployments: Sequence[Deployment]) -> Watch | Done:
    return Watch(tuple(deployments)) if deployments else Done()


def _open(deployments: Sequence[Deployment]) -> list[Deployment]:
    return [d for d in deployments if d.status in OBSERVED_REVISIONS]


def _of_workloads(ids: Sequence[str], work: UnitOfWork) -> list[Deployment]:
    found: list[Deployment] = []
    for text in sorted(set(ids))[:PAGE]:
        try:
            workload_id = uuid.UUID(text)
        except ValueError:
            raise PoisonEvent(f"{text[:60]!r} is not a workload's id") from None
        found += _open(work.deployments.live(workload_id))
    return found


def _announce(work: UnitOfWork) -> list[Outgoing]:
    """Tells execution of plans whose cluster was away, or whose execution was cut off."""
    due = work.plans.take_due(work.now, work.now + ANNOUNCE_AGAIN, PAGE)
    return [
        Outgoing(PlanApproved.of(plan, usd_per_hour=plan.amounts.usd_per_hour), str(plan.workload_id)) for plan in due
    ]
