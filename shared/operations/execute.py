"""Execute an approved plan, in two transactions with the cluster between them.

The first prepares the task; see shared.operations.execution_tasks. The second, `conclude`, writes down what came of it.
A cluster that is away makes the plan wait, and is not touched: the tick announces the plan again once the cluster
answers.

A workload has one execution at a time, by a lease. One that outlives its lease harms nothing. The cluster takes no
older revision over a newer one, and a deletion names the highest revision that it means. What is concluded is what the
task named, while the number of its execution is still the plan's. See shared.operations.late_objects for what it may
leave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import AlreadyInProgress
from shared.models.deployment import Deployment
from shared.models.lifecycle import FINISHED_REVISIONS, Phase, PlanStatus, RevisionStatus
from shared.models.reservation import Reservation
from shared.operations.apply import ClusterTask, TaskDone, TaskPostponed, TaskRefused
from shared.operations.clusters import mark_away
from shared.operations.late_objects import conclude_clean_up, schedule_clean_up
from shared.operations.postpone import postpone
from shared.operations.reservations import lines_to_retain, release
from shared.operations.results import RevisionWasApplied, RevisionWasRefused, RevisionWasRemoved
from shared.operations.revisions import start_verifying
from shared.rollout import occupancy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import JsonValue

    from shared.models.actor import Actor
    from shared.models.plan import ActionPlan
    from shared.models.stored import Workload
    from shared.operations.apply import TaskOutcome
    from shared.operations.results import RolloutResult
    from shared.store.unit_of_work import UnitOfWork


def conclude(work: UnitOfWork, task: ClusterTask, outcome: TaskOutcome, actor: Actor) -> Sequence[RolloutResult]:
    """Writes down what came of a task. Nothing when another execution, after a lapsed lease, was faster.

    Raises AlreadyInProgress while another execution of the plan has taken the place of this one.
    """
    workload = work.workloads.get(task.plan.workload_id, lock=True)
    plan = work.plans.get(task.plan.id)
    if workload is None or plan is None:
        return []
    current = workload.plan_id == plan.id
    if schedule_clean_up(work, task, plan, outcome, current=current) or plan.status is not PlanStatus.APPLYING:
        return []
    if plan.executions != task.plan.executions:
        raise AlreadyInProgress(f"execution {task.plan.executions} of plan {plan.id} was replaced after its lease")
    match outcome:
        case TaskPostponed(message, unseen=True) if (
            current and task.apply is not None and _is_overdue(work, task.apply, workload)
        ):
            return _refused(work, task, plan, workload, TaskRefused("ApplyRefused", message), current, actor)
        case TaskPostponed(message, away):
            if away:
                mark_away(work, plan.decision.cluster, message)
            postpone(work, plan, workload, message, actor, current=current and not task.cleans_up)
            return []
        case TaskRefused():
            return _refused(work, task, plan, workload, outcome, current, actor)
        case TaskDone() if task.apply is not None:
            return _applied(work, task.apply, plan, workload, outcome, current, actor)
        case TaskDone() if task.cleans_up:
            conclude_clean_up(work, plan, workload, outcome, current, actor)
            return []
        case TaskDone():
            return _removed(work, task, plan, workload, outcome, current, actor)


def overtaken(work: UnitOfWork, task: ClusterTask, outcome: TaskOutcome) -> None:
    """Another delivery of the event was faster, and the revision of this one may have ended since."""
    workload = work.workloads.get(task.plan.workload_id, lock=True)
    plan = work.plans.get(task.plan.id)
    if workload is not None and plan is not None:
        schedule_clean_up(work, task, plan, outcome, current=workload.plan_id == plan.id)


def _is_overdue(work: UnitOfWork, revision: Deployment, workload: Workload) -> bool:
    """Whether a revision had its deadline, counted from when it was first executed, to come to its cluster."""
    stored = work.deployments.get(revision.id)
    begun = stored.created_at if stored is not None else None
    return begun is not None and begun + (revision.deadline or workload.spec.deadline) <= work.now


def _refused(
    work: UnitOfWork,
    task: ClusterTask,
    plan: ActionPlan,
    workload: Workload,
    outcome: TaskRefused,
    current: bool,
    actor: Actor,
) -> Sequence[RolloutResult]:
    """What ran before still runs, and the reservation goes back to that."""
    reason, message = outcome.reason, outcome.message
    work.plans.mark_failed(plan, message)
    if task.apply is not None:
        stored = work.deployments.get(task.apply.id)
        if stored is not None and stored.status is RevisionStatus.INTENDED:
            work.deployments.mark_refused(stored, reason)
    if current:
        work.workloads.advance(workload, Phase.FAILED, reason=f"{reason}: {message}")
    newest = None if current else work.plans.get(workload.plan_id)
    released: Sequence[RolloutResult] = ()
    if newest is None or not occupancy.keeps_reservation(newest):
        held = work.ledger.reserved(workload.id, plan.decision.cluster)
        needed = lines_to_retain(work, work.deployments.live(workload.id), held)
        released = _release(work, plan, workload, needed)
    work.audit("deployment.failed", str(workload.id), actor, plan=str(plan.id), reason=reason, message=message)
    about = task.apply or next(iter(reversed(work.deployments.of_workload(workload.id))), None)
    return [*([] if about is None else [RevisionWasRefused(about, reason, message)]), *released]


def _release(work: UnitOfWork, plan: ActionPlan, workload: Workload, lines: occupancy.Lines) -> Sequence[RolloutResult]:
    reservation = Reservation(workload.id, plan.decision.cluster, workload.spec.team, lines)
    return release(work, [(reservation, plan.id)])


def _applied(
    work: UnitOfWork,
    deployment: Deployment,
    plan: ActionPlan,
    workload: Workload,
    done: TaskDone,
    current: bool,
    actor: Actor,
) -> Sequence[RolloutResult]:
    work.plans.mark_executed(plan)
    stored = work.deployments.get(deployment.id)
    if stored is None or stored.status is not RevisionStatus.INTENDED:
        return []  # its lease had lapsed, and a newer plan has replaced or removed it
    start_verifying(work, stored, workload, uid=done.uid, applied_at=work.now, digest=done.digest)
    if deployment.revision > 1:
        _retire_earlier(work, deployment, done)
    if current:
        work.workloads.advance(workload, Phase.VERIFYING)
    reference = deployment.reference
    fields: dict[str, JsonValue] = {"taken_fields": [*map(str, done.taken)], "left_fields": [*map(str, done.left)]}
    work.audit(
        "deployment.applied",
        str(workload.id),
        actor,
        plan=str(plan.id),
        revision=deployment.revision,
        cluster=deployment.cluster,
        object=f"{reference.kind} {reference.namespace}/{reference.name}",
        **({"left": done.refused[0].reason} if done.refused else {}),
        **{name: owned for name, owned in fields.items() if owned},
    )
    return [RevisionWasApplied(deployment, done.taken, done.left)]


def _retire_earlier(work: UnitOfWork, deployment: Deployment, done: TaskDone) -> None:
    """The revisions before this one are replaced, but for Jobs that the cluster would not delete: they are to go."""
    left = [one.deletion for one in done.refused if not one.foreign]
    present = work.deployments.present(deployment.workload_id) if left else []
    remaining = [one for one in present if any(deletion.means(one) for deletion in left)]
    for earlier in remaining:
        _start_removal(work, earlier)
    work.deployments.supersede_before(deployment.workload_id, deployment.revision, {one.id for one in remaining})


def _start_removal(work: UnitOfWork, deployment: Deployment) -> None:
    finished = deployment.status in FINISHED_REVISIONS
    work.deployments.start_removal(deployment, work.now, holds_nothing=finished)


def _removed(
    work: UnitOfWork,
    task: ClusterTask,
    plan: ActionPlan,
    workload: Workload,
    done: TaskDone,
    current: bool,
    actor: Actor,
) -> Sequence[RolloutResult]:
    """The objects are deleted; the reservation stays until the pods are observed gone.

    A revision that the task did not name has come since, and is not removed. One on another cluster is to go all the
    same: verification finds it there, and has it deleted. A refusal counts where a revision is known to be there: the
    task names every object that the workload ever had.
    """
    present = [
        revision
        for revision in work.deployments.present(workload.id)
        if any(deletion.means(revision) for deletion in task.delete)
        or (current and revision.cluster != plan.decision.cluster)
    ]
    refused = [one for one in done.refused if any(one.deletion.means(revision) for revision in present)]
    removed = [revision for revision in present if not any(one.deletion.means(revision) for one in refused)]
    for deployment in removed:
        _start_removal(work, deployment)
    if refused:
        return _refused(work, task, plan, workload, TaskRefused("RemoveRefused", refused[0].reason), current, actor)
    work.plans.mark_executed(plan)
    work.audit("deployment.removed", str(workload.id), actor, plan=str(plan.id), cluster=plan.decision.cluster)
    if removed:
        if current:
            work.workloads.advance(workload, Phase.REMOVING)
        return [RevisionWasRemoved(removed[-1])]
    if current:
        work.workloads.advance(workload, Phase.REMOVED)
        return _release(work, plan, workload, {})
    return []
