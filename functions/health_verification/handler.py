"""What verification does with its events: each says what to observe, and what is observed decides.

An applied or removed revision, an API server's notice, a fault or a breach name what to observe. The tick observes what
nobody announced, one page at a time. So a lost notice costs time, never truth. Plans that are due are announced a page
at a time too: all of a cluster's are due at once when it is available again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from events import CATALOGUE
from events.continuation import TICK_SUBJECT, VerificationContinued
from events.deployment import DeploymentApplied, DeploymentRemoved
from events.foreign import ObjectAdded, ObjectDeleted, ObjectReferenceData, ObjectUpdated, Tick
from events.plan import PlanProposed
from events.rollout import outgoing
from events.telemetry import GpuFault, SloBreached
from shared.eventing.event import Event, Outgoing
from shared.eventing.function import Done
from shared.models.actor import Actor
from shared.operations import verify
from shared.operations.observe import ObservationTask, Observed
from shared.operations.verify import Verification

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
ACTOR = Actor.function("health-verification")


def prepare(event: Event, work: UnitOfWork) -> ObservationTask | Done:
    """What to observe. Raises OperationRefused for a revision that does not exist, and for a page of no tick."""
    return _task(event, work) or Done()


def conclude(
    event: Event, task: ObservationTask, observed: Observed, work: UnitOfWork, *, pull_grace: timedelta
) -> Sequence[Outgoing]:
    """What follows. The first event is the reply, and the others wait for the relay: proposals come first, then the
    continuation, so that pages need not wait for each other.
    """
    # With the function's own name: intake makes plans of (source, id) too, and a caller may use an id twice.
    cause = f"health-verification\n{event.source}\n{event.id}"
    verified = verify.conclude(work, task, observed, Verification(cause, pull_grace), ACTOR)
    emitted = [outgoing(result) for result in verified.results]
    if (page := verified.next_page) is not None:
        emitted.append(Outgoing(VerificationContinued(started_at=page.started_at, page=page.page), TICK_SUBJECT))
    return sorted(emitted, key=_urgency)


def _task(event: Event, work: UnitOfWork) -> ObservationTask | None:
    match event.data:
        case DeploymentApplied() | DeploymentRemoved():
            return verify.task_for_revision(work, event.data.deployment)
        case ObjectReferenceData(kind=kind, namespace=namespace, name=name):
            if isinstance(event.data, ObjectDeleted):
                return verify.task_for_deletion(work, kind, namespace, name)
            return verify.task_for_object(work, kind, namespace, name, event.time)
        case GpuFault():
            return verify.task_for_workloads(work, event.data.workloads)
        case SloBreached():
            return verify.task_for_workloads(work, (event.data.workload,))
        case VerificationContinued():
            return verify.task_for_page(work, event.data.started_at, event.data.page)
        case _:
            return verify.task_for_tick(work)


def _urgency(emitted: Outgoing) -> int:
    if isinstance(emitted.data, PlanProposed):
        return 0
    return 1 if isinstance(emitted.data, VerificationContinued) else 2
