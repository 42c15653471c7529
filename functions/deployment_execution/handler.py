"""What execution does with plan.approved: it calls the operation, and tells of its results.

The event authorises nothing: the operation acts on the plan's row alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from events import CATALOGUE
from events.plan import PlanApproved
from events.rollout import outgoing
from shared.eventing.event import Event, Outgoing
from shared.eventing.function import Done
from shared.models.actor import Actor
from shared.operations import execute, execution_tasks
from shared.operations.apply import ClusterTask, TaskOutcome
from shared.operations.execution_tasks import ExecutePlan
from shared.operations.results import PlanWasProposed

if TYPE_CHECKING:
    from shared.store.unit_of_work import UnitOfWork

ACCEPTS = CATALOGUE.of(PlanApproved)
ACTOR = Actor.function("deployment-execution")


def prepare(event: Event, work: UnitOfWork) -> ClusterTask | Done:
    """The task, or Done when the cluster has nothing to do. Raises OperationRefused, AlreadyInProgress."""
    data: PlanApproved = event.data
    prepared = execution_tasks.prepare(work, ExecutePlan(data.workload, data.plan), ACTOR)
    match prepared:
        case None:
            return Done()
        case PlanWasProposed():
            return Done([outgoing(prepared)])
        case _:
            return prepared


def conclude(event: Event, task: ClusterTask, outcome: TaskOutcome, work: UnitOfWork) -> Sequence[Outgoing]:
    """deployment.applied, deployment.failed or deployment.removed, and reservation.released where somebody waits."""
    return [outgoing(result) for result in execute.conclude(work, task, outcome, ACTOR)]


def overtaken(task: ClusterTask, outcome: TaskOutcome, work: UnitOfWork) -> None:
    """Another delivery of the event was faster."""
    execute.overtaken(work, task, outcome)
