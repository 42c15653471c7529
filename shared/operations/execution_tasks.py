"""Prepare the execution of an approved plan: the first of its two transactions, which makes the task for the cluster.

What must hold first:

1. The plan's row says approved, and the plan is its workload's newest.
2. Its reservation is live; it is committed here.
3. No other plan of its workload is being executed.

Then the revision is written down as intended. See shared.operations.execute for what follows.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.errors import AlreadyInProgress, OperationRefused
from shared.models.deployment import Deployment
from shared.models.lifecycle import (
    ANNOUNCE_AGAIN,
    ENDED_PLANS,
    PLANS_UNDER_WAY,
    Phase,
    RevisionStatus,
)
from shared.models.plan import Verb
from shared.operations.apply import ClusterTask, ObjectDeletion, deletions_of
from shared.operations.late_objects import clean_up_task
from shared.operations.lease import LEASE
from shared.operations.place_again import place_again
from shared.operations.postpone import postpone
from shared.operations.results import PlanWasProposed
from shared.operations.revisions import new_revision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.models.actor import Actor
    from shared.models.plan import ActionPlan
    from shared.models.stored import Workload
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
        return clean_up_task(work, plan, workload, away, actor)
    if plan.decision.verb.applies and found.cordoned and not _has_begun(work, plan, workload):
        return _leave_cordoned(work, plan, workload, actor)
    if plan.decision.verb.applies and not work.ledger.commit(plan.id, work.now):
        return _propose_again(work, plan, workload, actor)
    if away is not None and _touches_cluster(work, plan, workload):
        postpone(work, plan, workload, away, actor, current=True)
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
        postpone(work, plan, workload, message, actor, current=True)
        return None


def _touches_cluster(work: UnitOfWork, plan: ActionPlan, workload: Workload) -> bool:
    """Not a removal of what is nowhere: it must not wait for a cluster that may never come back."""
    return plan.decision.verb.applies or bool(work.deployments.present(workload.id))


def _propose_again(work: UnitOfWork, plan: ActionPlan, workload: Workload, actor: Actor) -> PlanWasProposed:
    work.plans.propose_again(plan, work.now + ANNOUNCE_AGAIN, "its hold expired before it was executed")
    work.workloads.advance(workload, Phase.PROPOSED)
    work.audit("plan.expired", str(workload.id), actor, plan=str(plan.id))
    return PlanWasProposed(plan)


def _intend(work: UnitOfWork, found: PlanWithCluster, workload: Workload) -> ClusterTask:
    plan, away = found.plan, found.away
    leased = work.plans.lease(plan, LEASE)
    # A workload without a revision has nothing on a cluster.
    if plan.decision.verb is Verb.REMOVE:
        objects = work.objects.of_workload(workload.id, plan.decision.cluster) if workload.revision else []
        work.workloads.advance(workload, Phase.APPLYING)
        deletions = (ObjectDeletion(one.reference, one.revision, one.may_be_present) for one in objects)
        named = tuple(deletion for deletion in deletions if deletion.expected or away is None)
        return ClusterTask(leased, str(workload.id), None, named)
    present = work.deployments.present(workload.id) if workload.revision else []
    begun = work.deployments.of_plan(plan.id) if workload.revision else None
    deployment = begun or new_revision(work, found, workload, present)
    work.workloads.start_revision(workload, deployment.revision)
    earlier = [d for d in present if d.reference.name != deployment.reference.name]
    applied = (d.reference.uid for d in reversed(present) if d.shares_object(deployment))
    return ClusterTask(
        leased,
        str(workload.id),
        deployment,
        deletions_of(earlier),
        failure=_failure(present) if plan.decision.verb is Verb.ROLLBACK else None,
        uid=next((uid for uid in applied if uid is not None), None),
    )


def _failure(present: Sequence[Deployment]) -> str:
    """Why the revision that a rollback goes back from is broken; "" for one that is to be restored."""
    return next((one.reason for one in reversed(present) if one.status is RevisionStatus.UNHEALTHY), "")
