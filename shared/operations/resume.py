"""Propose a queued plan again once the rollback of its workload has ended.

Verification rolls a broken revision back though a newer submission waits in the queue. The submission keeps its place,
and what it does is worked out anew: after the rollback something else runs. For example, it only added replicas to the
revision that broke, and is an update of the one that runs now.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shared.models.lifecycle import ANNOUNCE_AGAIN
from shared.rollout.planning import verb_and_surge

if TYPE_CHECKING:
    from shared.models.actor import Actor
    from shared.models.plan import ActionPlan
    from shared.models.stored import Workload
    from shared.store.unit_of_work import UnitOfWork

PAGE = 50


def resume_queued(work: UnitOfWork, actor: Actor) -> list[ActionPlan]:
    """Makes such plans the newest of their workloads again, one page of them; policy decides each."""
    workloads = {one.queued_plan_id: one for one in work.workloads.lock_with_queued_plan(PAGE) if one.queued_plan_id}
    resumed = []
    for queued in work.plans.get_many(workloads.keys()).values():
        workload = workloads[queued.id]
        plan = _as_of_now(work, queued, workload)
        work.plans.propose_queued(plan, work.now + ANNOUNCE_AGAIN)
        work.workloads.take_plan(workload, plan.id, withdrawn=False)
        after = str(workload.plan_id)
        work.audit("plan.resumed", str(workload.id), actor, plan=str(plan.id), verb=plan.decision.verb, after=after)
        resumed.append(plan)
    return resumed


def _as_of_now(work: UnitOfWork, plan: ActionPlan, workload: Workload) -> ActionPlan:
    spec, cluster = workload.spec, plan.decision.cluster
    live = work.deployments.live(workload.id)
    held = work.ledger.reserved(workload.id, cluster)
    known = work.catalogue.cluster(cluster)
    products, excluded = ((), ()) if known is None else (known.products, known.excluded_nodes)
    verb, surge = verb_and_surge(spec, workload, live, held, products, excluded)
    decision = plan.decision.model_copy(update={"verb": verb})
    return replace(plan, decision=decision, surge=plan.amounts.per_replica().times(surge))
