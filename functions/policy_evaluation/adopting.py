"""Plans that neither intake nor verification made: a decision service may scale or remove what runs."""

from events.plan import PlanProposed
from shared.errors import PoisonEvent
from shared.models.actor import Actor
from shared.models.amounts import Amounts
from shared.models.lifecycle import PlanStatus
from shared.models.plan import ActionPlan, Verb
from shared.models.stored import Workload
from shared.rollout import holding
from shared.rollout.planning import scales
from shared.store.unit_of_work import UnitOfWork

_OPEN_TO_ALL = (Verb.SCALE, Verb.REMOVE)


def adopt(data: PlanProposed, workload: Workload, actor: Actor, work: UnitOfWork) -> tuple[ActionPlan, Workload]:
    """Takes such a plan in; it becomes its workload's newest. Its figures are the workload's. Raises PoisonEvent."""
    decision = data.decision
    if decision.verb not in _OPEN_TO_ALL:
        allowed = ", ".join(_OPEN_TO_ALL)
        raise PoisonEvent(
            f"decisions[0].verb: a plan from outside may {allowed}; to {decision.verb}, submit the workload"
        )
    if data.generation != workload.generation:
        raise PoisonEvent(f"generation: the workload is at {workload.generation}, the plan is for {data.generation}")
    if decision.cluster != workload.cluster or workload.withdrawn or workload.revision == 0:
        raise PoisonEvent(f"decisions[0].cluster: the workload does not run on {decision.cluster}")
    if decision.verb is Verb.SCALE and workload.spec.type.kind == "Job":
        raise PoisonEvent("decisions[0].verb: a Job cannot be scaled")
    spec, live = workload.spec, work.deployments.live(workload.id)
    surge = 0
    if decision.verb is Verb.SCALE:
        if not scales(spec, live):
            raise PoisonEvent("decisions[0].verb: what runs is not what was last submitted; submit what it should be")
        surge = holding.surging(spec.resources.gpu.sku or "", live, work.ledger.reserved(workload.id, workload.cluster))
    replica = Amounts(
        1, spec.resources.cpu, spec.resources.memory, spec.resources.gpu.count, workload.usd_per_replica_hour
    )
    plan = ActionPlan(
        id=data.plan,
        workload_id=workload.id,
        generation=workload.generation,
        source=data.source,
        decision=decision,
        sku=spec.resources.gpu.sku or "",
        amounts=replica.times(decision.replicas if decision.verb is Verb.SCALE else 0),
        surge=replica.times(surge),
        status=PlanStatus.PROPOSED,
        priority=spec.priority,
    )
    work.plans.add(plan)
    work.audit("plan.adopted", str(workload.id), actor, plan=str(plan.id), verb=decision.verb, source=data.source)
    return plan, work.workloads.take_plan(workload, plan.id, withdrawn=decision.verb is Verb.REMOVE)
