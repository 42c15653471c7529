"""Adopt a plan that neither intake nor verification made: a decision service may scale or remove what runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shared.errors import AlreadyInProgress, OperationRefused
from shared.models.amounts import Amounts
from shared.models.bindings import SourceAction
from shared.models.lifecycle import ANNOUNCE_AGAIN, PlanStatus
from shared.models.plan import ActionPlan, Decision, PlanSource, Verb
from shared.operations.bindings import check_source
from shared.rollout.planning import scales, verb_and_surge

if TYPE_CHECKING:
    import uuid

    from shared.models.actor import Actor
    from shared.models.bindings import Bindings
    from shared.models.stored import Workload
    from shared.store.unit_of_work import UnitOfWork

_OPEN_TO_ALL = (Verb.SCALE, Verb.REMOVE)


@dataclass(frozen=True)
class OutsidePlan:
    """What somebody else proposes for a workload of this generation, and who that is."""

    generation: int
    source: PlanSource
    decision: Decision
    proposer: Actor


def adopt(
    work: UnitOfWork, plan_id: uuid.UUID, proposed: OutsidePlan, workload: Workload, bindings: Bindings
) -> tuple[ActionPlan, Workload]:
    """Stores such a plan; it becomes its workload's newest. Its amounts are those of the workload's replicas.

    A scale whose new pods would come to an excluded node is stored as an update, which replaces the pods.

    The caller has locked the workload. Raises NotBound before anything is written, and OperationRefused, which names
    the bad field.
    """
    decision, spec = proposed.decision, workload.spec
    check_source(bindings, proposed.proposer.name, SourceAction.PROPOSE, spec.team, spec.namespace)
    if proposed.source is not PlanSource.DECISION_SERVICE:
        raise OperationRefused(
            "source", f"a plan from outside has the source {PlanSource.DECISION_SERVICE}, not {proposed.source}"
        )
    if decision.verb not in _OPEN_TO_ALL:
        allowed = ", ".join(_OPEN_TO_ALL)
        raise OperationRefused(
            "decisions[0].verb", f"a plan from outside may {allowed}; to {decision.verb}, submit the workload"
        )
    if proposed.generation != workload.generation:
        raise OperationRefused(
            "generation", f"the workload is at {workload.generation}, the plan is for {proposed.generation}"
        )
    plan = replace(plan_of(work, plan_id, proposed.source, decision, workload), proposed_by=str(proposed.proposer))
    if not work.plans.add(plan, work.now + ANNOUNCE_AGAIN):
        raise AlreadyInProgress(f"plan {plan.id} is being proposed for another workload right now")
    work.audit(
        "plan.adopted",
        str(workload.id),
        proposed.proposer,
        plan=str(plan.id),
        verb=plan.decision.verb,
        source=proposed.source,
    )
    return plan, work.workloads.take_plan(workload, plan.id, withdrawn=decision.verb is Verb.REMOVE)


def plan_of(
    work: UnitOfWork, plan_id: uuid.UUID, source: PlanSource, decision: Decision, workload: Workload
) -> ActionPlan:
    """The plan that scales or removes what runs; it is not stored yet. Its amounts are those of its replicas.

    A scale whose new pods would come to an excluded node becomes an update, which replaces the pods. The caller has
    locked the workload. Raises OperationRefused, which names the bad field.
    """
    spec = workload.spec
    if decision.cluster != workload.cluster or workload.withdrawn or workload.revision == 0:
        raise OperationRefused("decisions[0].cluster", f"the workload does not run on {decision.cluster}")
    if decision.verb is Verb.SCALE and spec.type.kind == "Job":
        raise OperationRefused("decisions[0].verb", "a Job cannot be scaled")
    if decision.verb is Verb.SCALE and spec.autoscaling is not None:
        raise OperationRefused(
            "decisions[0].verb", f"an autoscaler chooses the replicas, {spec.autoscaling}; submit another range"
        )
    live, surge = work.deployments.live(workload.id), 0
    if decision.verb is Verb.SCALE:
        cluster, asked = work.catalogue.cluster(workload.cluster), spec.with_most_replicas(decision.replicas)
        products, excluded = ((), ()) if cluster is None else (cluster.products, cluster.excluded_nodes)
        if not scales(asked, live, products):
            raise OperationRefused(
                "decisions[0].verb", "what runs is not what was last submitted; submit what it should be"
            )
        held = work.ledger.reserved(workload.id, workload.cluster)
        verb, surge = verb_and_surge(asked, workload, live, held, products, excluded)
        decision = decision.model_copy(update={"verb": verb})
    resources = spec.resources
    replica = Amounts(1, resources.cpu, resources.memory, resources.gpu.count, workload.usd_per_replica_hour)
    return ActionPlan(
        id=plan_id,
        workload_id=workload.id,
        team=spec.team,
        generation=workload.generation,
        source=source,
        decision=decision,
        sku=resources.gpu.sku or "",
        amounts=replica.times(0 if decision.verb is Verb.REMOVE else decision.replicas),
        surge=replica.times(surge),
        status=PlanStatus.PROPOSED,
        priority=spec.priority,
    )
