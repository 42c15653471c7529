"""Objects that came to a cluster after their revision had ended, and how they are taken away again.

An execution that outlives its lease may bring one. Nobody observes it there. Its plan, which has ended, is announced
again, and its next execution deletes the object.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shared.models.deployment import Deployment
from shared.models.lifecycle import UNDECIDED_PLANS, PlanStatus, RevisionStatus
from shared.operations.apply import ClusterTask, TaskDone, TaskRefused, deletions_of
from shared.operations.lease import LEASE
from shared.operations.postpone import postpone
from shared.operations.revisions import start_verifying
from shared.operations.supersede import supersede

if TYPE_CHECKING:
    from shared.models.actor import Actor
    from shared.models.plan import ActionPlan
    from shared.models.stored import Workload
    from shared.operations.apply import TaskOutcome
    from shared.store.unit_of_work import UnitOfWork


def schedule_clean_up(
    work: UnitOfWork, task: ClusterTask, plan: ActionPlan, outcome: TaskOutcome, *, current: bool
) -> bool:
    """Has the tick announce a plan again whose object came, or may come, to the cluster after its revision had ended.

    False where no object came too late. current: whether the plan is its workload's newest.
    """
    if current and plan.status is not PlanStatus.FAILED:
        return False
    if isinstance(outcome, TaskRefused) or task.apply is None or _left_behind(work, plan) is None:
        return False
    if plan.status in UNDECIDED_PLANS:  # its hold expired, and policy has yet to see that it was overtaken
        work.plans.supersede(plan, "its revision had ended")
        plan = replace(plan, status=PlanStatus.SUPERSEDED)
    work.plans.postpone(plan, work.now, "it came to the cluster after its revision had ended")
    return True


def clean_up_task(
    work: UnitOfWork, plan: ActionPlan, workload: Workload, away: str | None, actor: Actor
) -> ClusterTask | None:
    """The task that deletes what the execution of a plan that has ended left on the cluster, where nobody observes it.

    None where it left nothing, which ends the plan, and while the cluster is away. away: why it does not answer.
    """
    if (left := _left_behind(work, plan)) is not None:
        if away is not None:
            postpone(work, plan, workload, away, actor, current=False)
            return None
        leased = work.plans.lease(plan, LEASE)
        return ClusterTask(leased, str(workload.id), None, deletions_of([left]))
    _end_superseded(work, plan, workload, actor)
    return None


def conclude_clean_up(
    work: UnitOfWork, plan: ActionPlan, workload: Workload, done: TaskDone, current: bool, actor: Actor
) -> None:
    """What the cluster does not delete now is tried again, but for what is somebody else's."""
    if (refused := next((one for one in done.refused if not one.foreign), None)) is not None:
        postpone(work, plan, workload, refused.reason, actor, current=False)
    elif current:
        work.plans.mark_failed(plan, workload.reason)
    else:
        _end_superseded(work, plan, workload, actor)


def _left_behind(work: UnitOfWork, plan: ActionPlan) -> Deployment | None:
    """A revision that has ended, or is to go, while no other stands for its object.

    An execution that outlived its lease may have brought that object to the cluster since, where nobody observes it.
    """
    begun = work.deployments.of_plan(plan.id)
    if begun is None:
        return None
    present = work.deployments.present(plan.workload_id)
    if any(begun.shares_object(one) and (one.id, one.status) != (begun.id, RevisionStatus.REMOVING) for one in present):
        return None
    return begun


def _end_superseded(work: UnitOfWork, plan: ActionPlan, workload: Workload, actor: Actor) -> None:
    """If its execution was begun, nobody knows how far it came: verification finds out."""
    supersede(work, plan, workload, actor)
    begun = work.deployments.of_plan(plan.id)
    if begun is not None and begun.status is RevisionStatus.INTENDED:
        start_verifying(work, begun, workload)
