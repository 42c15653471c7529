"""What execution does with an approved plan.

The event authorises nothing. First transaction: the plan's row says approved, it is its workload's
newest, its reservation is live (and is committed here), no plan of its workload is being executed; then the revision
is written down as intended. Then the cluster. Second transaction: the outcome. A cluster that is away makes the
plan wait: the tick announces it again, and no attempt is spent.

One execution a workload at a time, because two that both find no object would both make it, and the older could win.
"""

import copy
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from events import CATALOGUE
from events.deployment import DeploymentApplied, DeploymentFailed, DeploymentRemoved
from events.plan import PlanApproved, PlanProposed
from events.policy import ReservationReleased
from functions.deployment_execution.performing import Applied, Away, Outcome, Refused, Task
from shared.errors import EventInHand, PoisonEvent
from shared.eventing.event import Event, Outgoing
from shared.eventing.function import Done
from shared.models.actor import Actor
from shared.models.deployment import Deployment, ObjectReference
from shared.models.lifecycle import (
    ENDED_PLANS,
    FINISHED_REVISIONS,
    PLANS_UNDER_WAY,
    UNDECIDED_PLANS,
    Phase,
    PlanStatus,
    RevisionStatus,
)
from shared.models.plan import ActionPlan, Verb
from shared.models.stored import Workload
from shared.rollout import holding
from shared.rollout.manifests import PLAN_ANNOTATION, REVISION_ANNOTATION, manifest
from shared.store import keeping
from shared.store.ledger import Reservation
from shared.store.unit_of_work import UnitOfWork

ACTOR = Actor.function("deployment-execution")
ACCEPTS = CATALOGUE.of(PlanApproved)

LEASE = timedelta(seconds=20)
"""How long one execution may keep others away; when it was cut off, the plan is taken up again after this."""

FIRST_BACKOFF = timedelta(seconds=1)
LONGEST_BACKOFF = timedelta(seconds=10)


def prepare(event: Event, work: UnitOfWork) -> Task | Done:
    """The intent, or Done when there is nothing left to execute. Raises PoisonEvent, EventInHand."""
    data: PlanApproved = event.data
    workload = work.workloads.get(data.workload, lock=True)
    plan = work.plans.get(data.plan)
    if workload is None or plan is None or plan.workload_id != workload.id:
        raise PoisonEvent(f"there is no plan {data.plan} for a workload {data.workload}")
    if plan.status in ENDED_PLANS:
        return Done()
    if plan.status not in PLANS_UNDER_WAY:
        raise PoisonEvent(f"plan {plan.id} was not approved: it is {plan.status}")
    # A workload without a revision has had nothing executed but, perhaps, this very plan.
    in_hand = work.plans.leased(workload.id, work.now) if workload.revision or plan.lease_until else None
    if in_hand is not None:
        raise EventInHand(f"plan {in_hand.id} of this workload is being executed, until {in_hand.lease_until}")
    if workload.plan_id != plan.id:
        return _supersede(plan, workload, work)
    if plan.decision.verb.applies and not work.ledger.commit(plan.id, work.now):
        return Done([_propose_again(plan, workload, work)])
    return _intend(plan, workload, work)


def conclude(event: Event, task: Task, outcome: Outcome, work: UnitOfWork) -> Sequence[Outgoing]:
    """Writes the outcome down and says it."""
    workload = work.workloads.get(task.plan.workload_id, lock=True)
    plan = work.plans.get(task.plan.id)
    if workload is None or plan is None:
        return []
    current = workload.plan_id == plan.id
    if _came_too_late(task, plan, outcome, current, work):
        return []
    if plan.status is not PlanStatus.APPLYING:
        return []  # another execution, after a lapsed lease, was faster
    match outcome:
        case Away(message):
            return _wait(plan, workload, message, current, work)
        case Refused(reason, message):
            return _failed(task, plan, workload, reason, message, current, work)
        case Applied() if task.apply is not None:
            return _applied(task.apply, plan, outcome, workload, current, work)
        case Applied() if plan.decision.verb.applies:
            _end_superseded(plan, workload, work)
            return []
        case Applied():
            return _removed(plan, workload, current, work)


def overtaken(task: Task, outcome: Outcome, work: UnitOfWork) -> None:
    """Another delivery of the event was faster, and what it made may have ended since."""
    workload = work.workloads.get(task.plan.workload_id, lock=True)
    plan = work.plans.get(task.plan.id)
    if workload is not None and plan is not None:
        _came_too_late(task, plan, outcome, workload.plan_id == plan.id, work)


def _came_too_late(task: Task, plan: ActionPlan, outcome: Outcome, current: bool, work: UnitOfWork) -> bool:
    """Whether it came to the cluster after its revision had ended; the tick announces it then, and it is taken away."""
    if current or not isinstance(outcome, Applied) or task.apply is None or _left_behind(plan, work) is None:
        return False
    if plan.status in UNDECIDED_PLANS:  # its hold expired, and policy has yet to see that it was overtaken
        work.plans.supersede(plan, "its revision had ended")
        plan = replace(plan, status=PlanStatus.SUPERSEDED)
    work.plans.postpone(plan, work.now, "it came to the cluster after its revision had ended")
    return True


def _supersede(plan: ActionPlan, workload: Workload, work: UnitOfWork) -> Task | Done:
    """A newer plan has taken its place. If it was begun, nobody knows how far it came: verification finds out.

    What verification does not look at any more is taken away.
    """
    if (behind := _left_behind(plan, work)) is not None:
        work.plans.lease(plan, work.now + LEASE)
        return Task(plan, str(workload.id), None, _references([behind]), force=False)
    _end_superseded(plan, workload, work)
    return Done()


def _left_behind(plan: ActionPlan, work: UnitOfWork) -> Deployment | None:
    """A revision that has ended while no other stands for its object: an execution that outlived its lease may have
    brought that to the cluster since, where nobody looks any more.
    """
    begun = work.deployments.of_plan(plan.id)
    if begun is None or any(_same_object(begun, other) for other in work.deployments.present(plan.workload_id)):
        return None
    return begun


def _same_object(one: Deployment, other: Deployment) -> bool:
    return (one.cluster, one.reference.kind, one.reference.name) == (
        other.cluster,
        other.reference.kind,
        other.reference.name,
    )


def _end_superseded(plan: ActionPlan, workload: Workload, work: UnitOfWork) -> None:
    work.plans.supersede(plan, f"superseded by plan {workload.plan_id}")
    work.audit("plan.superseded", str(workload.id), ACTOR, plan=str(plan.id), by=str(workload.plan_id))
    begun = work.deployments.of_plan(plan.id)
    if begun is not None and begun.status is RevisionStatus.INTENDED:
        _watch(begun, workload, work)


def _watch(
    deployment: Deployment,
    workload: Workload,
    work: UnitOfWork,
    *,
    uid: str | None = None,
    applied_at: datetime | None = None,
) -> None:
    """Gives a revision to verification, with a deadline from now on."""
    work.deployments.start_verifying(
        deployment, work.now, work.now + workload.spec.deadline, uid=uid, applied_at=applied_at
    )


def _intend(plan: ActionPlan, workload: Workload, work: UnitOfWork) -> Task:
    work.plans.lease(plan, work.now + LEASE)
    present = work.deployments.present(workload.id)
    if plan.decision.verb is Verb.REMOVE:
        work.workloads.advance(workload, Phase.APPLYING)
        return Task(plan, str(workload.id), None, _references(present), force=False)
    deployment = work.deployments.of_plan(plan.id) or _new_revision(plan, workload, work)
    work.workloads.start_revision(workload, deployment.revision)
    earlier = [d for d in present if d.reference.name != deployment.reference.name]
    return Task(plan, str(workload.id), deployment, _references(earlier), force=plan.decision.verb is Verb.ROLLBACK)


def _new_revision(plan: ActionPlan, workload: Workload, work: UnitOfWork) -> Deployment:
    revision = workload.revision + 1
    decision = plan.decision
    if decision.verb is Verb.ROLLBACK:
        target = work.deployments.revision(workload.id, decision.revision or 0)
        if target is None:
            raise PoisonEvent(f"revision {decision.revision} of workload {workload.id} does not exist")
        document = _restored(target.manifest, plan, revision)
    else:
        spec = workload.spec.model_copy(update={"replicas": decision.replicas})
        document = manifest(
            spec, workload_id=workload.id, plan_id=plan.id, revision=revision, generation=plan.generation
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
        rollback_of=decision.revision,
    )
    work.deployments.add(deployment)
    return deployment


def _restored(snapshot: dict[str, Any], plan: ActionPlan, revision: int) -> dict[str, Any]:
    """An earlier manifest as a new revision: the same fields, under this plan's name."""
    document = copy.deepcopy(snapshot)
    document["metadata"]["annotations"] |= {PLAN_ANNOTATION: str(plan.id), REVISION_ANNOTATION: str(revision)}
    return document


def _references(deployments: Sequence[Deployment]) -> tuple[ObjectReference, ...]:
    """Each object once, though it may have stood for several revisions."""
    found = {(d.reference.kind, d.reference.namespace, d.reference.name): d.reference for d in deployments}
    return tuple(found.values())


def _propose_again(plan: ActionPlan, workload: Workload, work: UnitOfWork) -> Outgoing:
    work.plans.propose_again(plan, "its hold expired before it was executed")
    work.workloads.advance(workload, Phase.PROPOSED)
    work.audit("plan.expired", str(workload.id), ACTOR, plan=str(plan.id))
    return Outgoing(PlanProposed.of(plan, source=plan.source), str(workload.id))


def _wait(plan: ActionPlan, workload: Workload, message: str, current: bool, work: UnitOfWork) -> Sequence[Outgoing]:
    delay = min(FIRST_BACKOFF * 2 ** min(plan.attempts, 10), LONGEST_BACKOFF)
    work.plans.postpone(plan, work.now + delay, message)
    if current:
        work.workloads.advance(workload, Phase.WAITING, reason=message)
    if plan.attempts == 0:
        work.audit(
            "plan.waiting", str(workload.id), ACTOR, plan=str(plan.id), cluster=plan.decision.cluster, reason=message
        )
    return []


def _failed(
    task: Task, plan: ActionPlan, workload: Workload, reason: str, message: str, current: bool, work: UnitOfWork
) -> Sequence[Outgoing]:
    """What ran before still runs, and the reservation goes back to that."""
    work.plans.mark_failed(plan, message)
    if task.apply is not None:
        stored = work.deployments.get(task.apply.id)
        if stored is not None and stored.status is RevisionStatus.INTENDED:
            work.deployments.mark_refused(stored, reason)
    if current:
        work.workloads.advance(workload, Phase.FAILED, reason=f"{reason}: {message}")
    newest = None if current else work.plans.get(workload.plan_id)
    released: Sequence[Outgoing] = ()
    if newest is None or not holding.holds(newest):
        held = work.ledger.reserved(workload.id, task.plan.decision.cluster)
        kept = keeping.kept(work.deployments.live(workload.id), held, work)
        released = _release(task.plan, workload, kept, work)
    work.audit("deployment.failed", str(workload.id), ACTOR, plan=str(task.plan.id), reason=reason, message=message)
    told = task.apply or next(iter(reversed(work.deployments.of_workload(workload.id))), None)
    if told is None:
        return released
    return [Outgoing(DeploymentFailed.of(told, reason=reason, message=message), str(workload.id)), *released]


def _release(plan: ActionPlan, workload: Workload, runs: holding.Lines, work: UnitOfWork) -> Sequence[Outgoing]:
    """Gives back all but what runs, and tells the queue, if anybody waits in it."""
    reservation = Reservation(workload.id, plan.decision.cluster, workload.spec.team, runs)
    work.ledger.settle([(reservation, plan.id)])
    if not work.plans.anything_queued():
        return ()
    return (Outgoing(ReservationReleased(workload=str(workload.id)), str(workload.id)),)


def _applied(
    deployment: Deployment, plan: ActionPlan, applied: Applied, workload: Workload, current: bool, work: UnitOfWork
) -> Sequence[Outgoing]:
    work.plans.mark_executed(plan)
    stored = work.deployments.get(deployment.id)
    if stored is None or stored.status is not RevisionStatus.INTENDED:
        return []  # its lease had lapsed, and a newer plan has replaced or removed it
    _watch(stored, workload, work, uid=applied.uid, applied_at=work.now)
    work.deployments.supersede_before(workload.id, deployment.revision)
    if current:
        work.workloads.advance(workload, Phase.VERIFYING)
    work.audit(
        "deployment.applied",
        str(workload.id),
        ACTOR,
        plan=str(deployment.plan_id),
        revision=deployment.revision,
        cluster=deployment.cluster,
        object=f"{deployment.reference.kind} {deployment.reference.namespace}/{deployment.reference.name}",
        **({"left": applied.left} if applied.left else {}),
    )
    return [Outgoing(DeploymentApplied.of(deployment), str(workload.id))]


def _removed(plan: ActionPlan, workload: Workload, current: bool, work: UnitOfWork) -> Sequence[Outgoing]:
    """The objects are deleted; the reservation stays until the pods are observed gone."""
    work.plans.mark_executed(plan)
    present = work.deployments.present(workload.id)
    for deployment in present:
        over = deployment.status in FINISHED_REVISIONS  # its pods have finished, and what they held was given back
        work.deployments.start_removal(deployment, work.now, holds_nothing=over)
    work.audit("deployment.removed", str(workload.id), ACTOR, plan=str(plan.id), cluster=plan.decision.cluster)
    if present:
        if current:
            work.workloads.advance(workload, Phase.REMOVING)
        return [Outgoing(DeploymentRemoved.of(present[-1]), str(workload.id))]
    if current:
        work.workloads.advance(workload, Phase.REMOVED)
        return _release(plan, workload, {}, work)
    return []
