"""Place a plan again: its cluster was cordoned before anything of its workload was there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shared.errors import OperationRefused
from shared.models.plan import PlanSource, plan_id
from shared.operations.propose import add_plan
from shared.operations.results import PlanWasProposed
from shared.operations.supersede import supersede
from shared.rollout import planning
from shared.rollout.pricing import Prices

if TYPE_CHECKING:
    from shared.models.actor import Actor
    from shared.models.plan import ActionPlan
    from shared.models.stored import Workload
    from shared.store.unit_of_work import UnitOfWork


def place_again(work: UnitOfWork, plan: ActionPlan, workload: Workload, actor: Actor) -> PlanWasProposed:
    """The plan that takes the place of one that was submitted; policy decides it for its cluster.

    The workload has nothing on any cluster, and the caller has locked it. Raises OperationRefused when no cluster can
    take it, and for a plan that names its cluster itself: a rollback, or one of a decision service.
    """
    if plan.source is not PlanSource.USER or plan.decision.verb.restores:
        raise OperationRefused("", "the plan is for this cluster alone")
    cluster = planning.place(workload.spec, None, work.catalogue.clusters(), work.catalogue.reserved())
    proposal = planning.propose(
        workload.spec,
        workload,
        cluster,
        Prices.of(work.catalogue.prices_at(cluster.name)),
        live=(),
        held={},
        plan_id=plan_id(workload.id, f"plan {plan.id} placed again"),
        generation=workload.generation,
    )
    again = replace(proposal.plan, proposed_by=plan.proposed_by)
    placed = add_plan(work, again, actor, reason=f"cluster {plan.decision.cluster} is cordoned")
    moved = replace(proposal.workload, plan_id=placed.id)
    work.workloads.replace(moved)
    supersede(work, plan, moved, actor)
    return PlanWasProposed(placed)
