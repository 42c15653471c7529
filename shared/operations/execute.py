"""Execute an approved plan, in two transactions with the cluster between them.

The first, `prepare`: the plan's row says approved, it is its workload's newest, its reservation is live (and is
committed here), no plan of its workload is being executed. Then the revision is written down as intended. The second,
`conclude`: what came of it. A cluster that is away makes the plan wait, and is not touched: the tick announces the plan
again once the cluster answers.

One execution a workload at a time, by a lease. One that outlives its lease harms nothing: the cluster takes no older
revision over a newer one, a deletion names the highest revision that it means, and what is concluded is what the task
named, while the number of its execution is still the plan's.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shared.errors import AlreadyInProgress, OperationRefused
from shared.models.deployment import Deployment, ObjectReference
from shared.models.lifecycle import (
    ANNOUNCE_AGAIN,
    ENDED_PLANS,
    FINISHED_REVISIONS,
    PLANS_UNDER_WAY,
    UNDECIDED_PLANS,
    Phase,
    PlanStatus,
    RevisionStatus,
)
from shared.models.plan import Verb
from shared.models.reservation import Reservation
from shared.operations.apply import ClusterTask, ObjectDeletion, TaskDone, TaskPostponed, TaskRefused
from shared.operations.clusters import FIRST_BACKOFF, LONGEST_BACKOFF, mark_away
from shared.operations.lease import LEASE
from shared.operations.place_again import place_again
from shared.operations.reservations import lines_to_retain, release
from shared.operations.results import (
    PlanWasProposed,
    RevisionWasApplied,
    RevisionWasRefused,
    RevisionWasRemoved,
)
from shared.operations.supersede import supersede
from shared.rollout import occupancy
from shared.rollout.manifests import excluded_nodes_of, manifest, restored

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pydantic import JsonValue

    from shared.models.actor import Actor
    from shared.models.plan import ActionPlan
    from shared.models.stored import Workload
    from shared.operations.apply import TaskOutcome
    from shared.operations.results import RolloutResult
    from shared.store.plans import PlanWithCluster
    from shared.store.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class ExecutePlan:
    """Which plan of which workload."""

    workload_id: uuid.UUID
    plan_id: uuid.UUID


def prepare(work: UnitOfWork, command: ExecutePlan, actor: Actor) -> ClusterTask | PlanWasProposed | None:
    """The task for the cluster; a plan that policy has to decide; or None when there is nothing to execute now.

    Policy decides again when the plan's hold has expired, or its cluster was cordoned before anything came there.

    Raises OperationRefused for a plan that was not approved, AlreadyInProgress while another execution has its lease.
    """
    workload = work.workloads.get(command.workload_id, lock=True)
    found = work.plans.get_with_cluster(command.plan_id)
    if workload is None or found is None or found.plan.workload_id != workload.id:
        raise OperationRefused("plan", f"there is no plan {command.plan_id} for a workload {command.workload_id}")
    plan, away = found.plan, found.away
    if plan.status in ENDED_PLANS:
        return None
    if plan.status not in PLANS_UNDER_WAY:
        raise OperationRefused("plan", f"plan {plan.id} was not approved: it is {plan.status}")
    # A workload without a revision has had nothing executed but, perhaps, this very plan.
    leased = work.plans.leased(workload.id, work.now) if workload.revision or plan.lease_until else None
    if leased is not None:
        raise AlreadyInProgress(f"plan {leased.id} of this workload is being executed, until {leased.lease_until}")
    if workload.plan_id != plan.id or workload.phase is Phase.FAILED:  # failed, and its object came all the same
        return _clean_up(work, plan, workload, away, actor)
    if plan.decision.verb.applies and found.cordoned and not _has_begun(work, plan, workload):
        return _leave_cordoned(work, plan, workload, actor)
    if plan.decision.verb.applies and not work.ledger.commit(plan.id, work.now):
        return _propose_again(work, plan, workload, actor)
    if away is not None and _touches_cluster(work, plan, workload):
        _postpone(work, plan, workload, away, True, actor)
        return None
    return _intend(work, found, workload)


def _has_begun(work: UnitOfWork, plan: ActionPlan, workload: Workload) -> bool:
    """Whether something of the workload is, or may be, on the plan's cluster."""
    if not workload.revision:
        return False
    present = work.deployments.present(workload.id)
    return any(one.cluster == plan.decision.cluster for one in present)


def _leave_cordoned(work: UnitOfWork, plan: ActionPlan, workload: Workload, actor: Actor) -> PlanWasProposed | None:
    """Places the plan on another cluster. What cannot be placed elsewhere waits until that changes."""
    cluster = plan.decision.cluster
    try:
        if workload.revision and work.deployments.present(workload.id):
            raise OperationRefused("", "it runs on another cluster")
        return place_again(work, plan, workload, actor)
    except OperationRefused as refused:
        message = f"cluster {cluster} is cordoned, and the plan cannot be placed elsewhere: {refused}"
        _postpone(work, plan, workload, message, True, actor)
        return None


def _touches_cluster(work: UnitOfWork, plan: ActionPlan, workload: Workload) -> bool:
    """Not a removal of what is nowhere: it must not wait for a cluster that may never come back."""
    return plan.decision.verb.applies or bool(work.deployments.present(workload.id))


def conclude(work: UnitOfWork, task: ClusterTask, outcome: TaskOutcome, actor: Actor) -> Sequence[RolloutResult]:
    """Writes down what came of a task. Nothing when another execution, after a lapsed lease, was faster.

    Raises AlreadyInProgress while another execution of the plan has taken the place of this one.
    """
    workload = work.workloads.get(task.plan.workload_id, lock=True)
    plan = work.plans.get(task.plan.id)
    if workload is None or plan is None:
        return []
    current = workload.plan_id == plan.id
    if _came_too_late(work, task, plan, outcome, current) or plan.status is not PlanStatus.APPLYING:
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
            _postpone(work, plan, workload, message, current and not task.cleans_up, actor)
            return []
        case TaskRefused():
            return _refused(work, task, plan, workload, outcome, current, actor)
        case TaskDone() if task.apply is not None:
            return _applied(work, task.apply, plan, workload, outcome, current, actor)
        case TaskDone() if task.cleans_up:
            _cleaned_up(work, plan, workload, outcome, current, actor)
            return []
        case TaskDone():
            return _removed(work, task, plan, workload, outcome, current, actor)


def _is_overdue(work: UnitOfWork, revision: Deployment, workload: Workload) -> bool:
    """Whether a revision had its deadline, counted from when it was first executed, to come to its cluster."""
    stored = work.deployments.get(revision.id)
    begun = stored.created_at if stored is not None else None
    return begun is not None and begun + (revision.deadline or workload.spec.deadline) <= work.now


def renew(work: UnitOfWork, task: ClusterTask) -> bool:
    """Prolongs the lease of a task that lasts. False when it has ended, or another execution has taken its place."""
    return work.plans.renew(task.plan, LEASE)


def overtaken(work: UnitOfWork, task: ClusterTask, outcome: TaskOutcome) -> None:
    """Another delivery of the event was faster, and the revision of this one may have ended since."""
    workload = work.workloads.get(task.plan.workload_id, lock=True)
    plan = work.plans.get(task.plan.id)
    if workload is not None and plan is not None:
        _came_too_late(work, task, plan, outcome, workload.plan_id == plan.id)


def _came_too_late(work: UnitOfWork, task: ClusterTask, plan: ActionPlan, outcome: TaskOutcome, current: bool) -> bool:
    """Whether an object came, or may come, to the cluster after its revision had ended. The tick then announces its
    plan again, and the object is taken away.
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


def _clean_up(
    work: UnitOfWork, plan: ActionPlan, workload: Workload, away: str | None, actor: Actor
) -> ClusterTask | None:
    """The plan has ended. What its execution left on the cluster, and nobody observes, is deleted."""
    if (left := _left_behind(work, plan)) is not None:
        if away is not None:
            _postpone(work, plan, workload, away, False, actor)
            return None
        leased = work.plans.lease(plan, LEASE)
        return ClusterTask(leased, str(workload.id), None, _deletions([left]))
    _end_superseded(work, plan, workload, actor)
    return None


def _cleaned_up(
    work: UnitOfWork, plan: ActionPlan, workload: Workload, done: TaskDone, current: bool, actor: Actor
) -> None:
    """What the cluster does not delete now is tried again, but for what is somebody else's."""
    if (refused := next((one for one in done.refused if not one.foreign), None)) is not None:
        _postpone(work, plan, workload, refused.reason, False, actor)
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
    if any(_same_object(begun, one) and (one.id, one.status) != (begun.id, RevisionStatus.REMOVING) for one in present):
        return None
    return begun


def _same_object(one: Deployment, other: Deployment) -> bool:
    return (one.cluster, one.reference.kind, one.reference.name) == (
        other.cluster,
        other.reference.kind,
        other.reference.name,
    )


def _end_superseded(work: UnitOfWork, plan: ActionPlan, workload: Workload, actor: Actor) -> None:
    """If its execution was begun, nobody knows how far it came: verification finds out."""
    supersede(work, plan, workload, actor)
    begun = work.deployments.of_plan(plan.id)
    if begun is not None and begun.status is RevisionStatus.INTENDED:
        _start_verifying(work, begun, workload)


def _start_verifying(
    work: UnitOfWork,
    deployment: Deployment,
    workload: Workload,
    *,
    uid: str | None = None,
    applied_at: datetime | None = None,
    digest: str = "",
) -> None:
    """Gives a revision to verification, with a deadline from now on."""
    deadline = work.now + (deployment.deadline or workload.spec.deadline)
    work.deployments.start_verifying(deployment, work.now, deadline, uid=uid, applied_at=applied_at, digest=digest)


def _intend(work: UnitOfWork, found: PlanWithCluster, workload: Workload) -> ClusterTask:
    plan, away = found.plan, found.away
    leased = work.plans.lease(plan, LEASE)
    # A workload without a revision has nothing on a cluster.
    if plan.decision.verb is Verb.REMOVE:
        objects = work.deployments.objects(workload.id, plan.decision.cluster) if workload.revision else []
        work.workloads.advance(workload, Phase.APPLYING)
        deletions = (ObjectDeletion(one.reference, one.revision, one.may_be_present) for one in objects)
        named = tuple(deletion for deletion in deletions if deletion.expected or away is None)
        return ClusterTask(leased, str(workload.id), None, named)
    present = work.deployments.present(workload.id) if workload.revision else []
    begun = work.deployments.of_plan(plan.id) if workload.revision else None
    deployment = begun or _new_revision(work, found, workload, present)
    work.workloads.start_revision(workload, deployment.revision)
    earlier = [d for d in present if d.reference.name != deployment.reference.name]
    applied = (d.reference.uid for d in reversed(present) if _same_object(d, deployment))
    return ClusterTask(
        leased,
        str(workload.id),
        deployment,
        _deletions(earlier),
        failure=_failure(present) if plan.decision.verb is Verb.ROLLBACK else None,
        uid=next((uid for uid in applied if uid is not None), None),
    )


def _failure(present: Sequence[Deployment]) -> str:
    """Why the revision that a rollback goes back from is broken; "" for one that is to be restored."""
    return next((one.reason for one in reversed(present) if one.status is RevisionStatus.UNHEALTHY), "")


def _new_revision(
    work: UnitOfWork, found: PlanWithCluster, workload: Workload, present: Sequence[Deployment]
) -> Deployment:
    plan, revision = found.plan, workload.revision + 1
    decision, excluded = plan.decision, found.excluded
    rollback_of = decision.revision
    if decision.verb.restores:
        target = work.deployments.revision(workload.id, decision.revision or 0)
        if target is None:
            raise OperationRefused(
                "decisions[0].revision", f"revision {decision.revision} of workload {workload.id} does not exist"
            )
        document = restored(target.manifest, plan_id=plan.id, revision=revision, excluded=excluded)
        deadline, bake = target.deadline, target.bake
        if decision.verb is Verb.RESCHEDULE:  # it is what the revision was that it moves
            rollback_of = target.rollback_of
    else:
        if decision.verb is Verb.SCALE and present:  # the pods that run are not replaced
            excluded = excluded_nodes_of(present[-1].manifest)
        spec = workload.spec.with_most_replicas(decision.replicas)
        deadline, bake = spec.deadline, spec.bake
        document = manifest(
            spec,
            workload_id=workload.id,
            plan_id=plan.id,
            revision=revision,
            generation=plan.generation,
            products=found.products,
            excluded=excluded,
        )
    meta = document["metadata"]
    deployment = Deployment(
        id=uuid.uuid5(workload.id, f"revision {revision}"),
        workload_id=workload.id,
        revision=revision,
        generation=plan.generation,
        plan_id=plan.id,
        cluster=decision.cluster,
        reference=ObjectReference(document["kind"], meta["namespace"], meta["name"]),
        manifest=document,
        status=RevisionStatus.INTENDED,
        sku=plan.sku,
        amounts=plan.amounts,
        rollback_of=rollback_of,
        deadline=deadline,
        bake=bake,
    )
    work.deployments.add(deployment)
    return deployment


def _deletions(deployments: Sequence[Deployment]) -> tuple[ObjectDeletion, ...]:
    """Each object once, up to the newest of the revisions that it may have stood for. deployments: oldest first."""
    found: dict[tuple[str, str, str], ObjectDeletion] = {}
    for deployment in deployments:
        reference = deployment.reference
        name = (reference.kind, reference.namespace, reference.name)
        if reference.uid is None and name in found:
            reference = found[name].reference  # a revision that was not applied yet does not know its object's uid
        found[name] = ObjectDeletion(reference, deployment.revision)
    return tuple(found.values())


def _propose_again(work: UnitOfWork, plan: ActionPlan, workload: Workload, actor: Actor) -> PlanWasProposed:
    work.plans.propose_again(plan, work.now + ANNOUNCE_AGAIN, "its hold expired before it was executed")
    work.workloads.advance(workload, Phase.PROPOSED)
    work.audit("plan.expired", str(workload.id), actor, plan=str(plan.id))
    return PlanWasProposed(plan)


def _postpone(
    work: UnitOfWork, plan: ActionPlan, workload: Workload, message: str, current: bool, actor: Actor
) -> None:
    delay = min(FIRST_BACKOFF * 2 ** min(plan.attempts, 10), LONGEST_BACKOFF)
    work.plans.postpone(plan, work.now + delay, message)
    if current:
        work.workloads.advance(workload, Phase.WAITING, reason=message)
    if plan.attempts == 0:
        cluster = plan.decision.cluster
        work.audit("plan.waiting", str(workload.id), actor, plan=str(plan.id), cluster=cluster, reason=message)


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
    _start_verifying(work, stored, workload, uid=done.uid, applied_at=work.now, digest=done.digest)
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
