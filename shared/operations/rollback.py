"""Roll a workload back to a revision that was healthy, because somebody asks for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shared.errors import OperationRefused, WrongState
from shared.models.amounts import NOTHING
from shared.models.cluster import ClusterState
from shared.models.lifecycle import PlanStatus
from shared.models.plan import ActionPlan, Decision, PlanSource, Verb, plan_id
from shared.operations.propose import propose
from shared.rollout.manifests import surge_replicas

if TYPE_CHECKING:
    from shared.models.actor import Actor
    from shared.models.deployment import Deployment
    from shared.models.stored import Workload
    from shared.store.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class RollBackWorkload:
    """A workload, which the caller has locked. revision: None for the newest that was healthy before what runs.

    cause: names what led to it; the plan's id follows from it.
    """

    workload: Workload
    cause: str
    revision: int | None = None


def roll_back(work: UnitOfWork, command: RollBackWorkload, actor: Actor) -> ActionPlan:
    """The plan that was proposed. The workload goes on asking for what was submitted last.

    Raises WrongState and OperationRefused as `revision_to_restore` does.
    """
    plan = rollback_plan(command, revision_to_restore(work, command), PlanSource.USER)
    plan = replace(plan, priority=command.workload.spec.priority)
    revision = plan.decision.revision
    proposed, _ = propose(work, plan, command.workload, actor, withdrawn=False, revision=revision)
    return proposed


def revision_to_restore(work: UnitOfWork, command: RollBackWorkload) -> Deployment:
    """The revision that a workload goes back to.

    Policy holds up no rollback for what it costs or holds, so it may take no more than the workload holds. Raises
    WrongState when there is nothing to go back to or from, and OperationRefused for a revision that cannot be restored.
    """
    workload = command.workload
    if workload.withdrawn:
        raise WrongState(f"workload {workload.spec.full_name} was withdrawn; create it again")
    if workload.spec.type.kind == "Job":
        raise WrongState(f"workload {workload.spec.full_name} is a Job, which has run and cannot run backwards")
    live = work.deployments.live(workload.id)
    if not live:
        raise WrongState(f"nothing of workload {workload.spec.full_name} is on a cluster")
    target = _target(work, command, live[-1].revision)
    _check_cluster(work, target)
    _check_size(work, workload, target)
    return target


def rollback_plan(command: RollBackWorkload, target: Deployment, source: PlanSource) -> ActionPlan:
    """The plan that restores a revision; it is not stored yet."""
    return ActionPlan(
        id=plan_id(command.workload.id, command.cause),
        workload_id=command.workload.id,
        generation=command.workload.generation,
        source=source,
        decision=Decision(
            verb=Verb.ROLLBACK, cluster=target.cluster, replicas=target.amounts.replicas, revision=target.revision
        ),
        sku=target.sku,
        amounts=target.amounts,
        surge=target.amounts.per_replica().times(surge_replicas(target.reference.kind)),
        status=PlanStatus.PROPOSED,
    )


def _target(work: UnitOfWork, command: RollBackWorkload, runs: int) -> Deployment:
    workload, wanted = command.workload, command.revision
    if wanted is None:
        if (found := work.deployments.last_good(workload.id, runs)) is None:
            raise WrongState(f"workload {workload.spec.full_name} has no earlier revision that was healthy")
        return found
    if wanted == runs:
        raise OperationRefused("revision", f"{wanted} is the newest already")
    found = work.deployments.last_good(workload.id, wanted + 1)
    if found is None or found.revision != wanted:
        hint = "there is none" if found is None else f"the newest one up to there is {found.revision}"
        raise OperationRefused("revision", f"{wanted} was never healthy since the workload was deployed; {hint}")
    return found


def _check_cluster(work: UnitOfWork, target: Deployment) -> None:
    cluster = work.catalogue.cluster(target.cluster)
    if cluster is None or cluster.state is ClusterState.LOST:
        raise OperationRefused("revision", f"{target.revision} was on cluster {target.cluster}, which is gone")


def _check_size(work: UnitOfWork, workload: Workload, target: Deployment) -> None:
    held = work.ledger.reserved(workload.id, target.cluster).get(target.sku, NOTHING)
    if not replace(target.amounts, usd_per_hour=held.usd_per_hour).within(held):  # prices may have changed
        raise OperationRefused(
            "revision",
            f"{target.revision} takes more than the workload holds: submit what it was, so that policy decides on it",
        )
