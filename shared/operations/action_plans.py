"""Action plans: list them, and explain one by the decision on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.errors import NotFound
from shared.operations import workloads

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    from shared.models.page import Page, PageRequest
    from shared.models.plan import ActionPlan, PlanFilter
    from shared.policy.decision import DecisionRecord
    from shared.policy.explain import Suggestion
    from shared.store.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class ExplainedPlan:
    """A plan with the last decision on it, None while there is none.

    would_pass: what policy would approve now in its place; None for a plan that is not its workload's newest, or that
    was not denied.
    """

    plan: ActionPlan
    decision: DecisionRecord | None
    would_pass: Sequence[Suggestion] | None


def page(work: UnitOfWork, wanted: PlanFilter, request: PageRequest) -> Page[ActionPlan]:
    """A page of the plans that fit, sorted by `createdAt`."""
    return work.plans.page(wanted, request)


def get(work: UnitOfWork, plan_id: uuid.UUID) -> ActionPlan:
    """One plan. Raises NotFound."""
    plan = work.plans.get(plan_id)
    if plan is None:
        raise NotFound(f"there is no action plan {plan_id}")
    return plan


def explain(work: UnitOfWork, plan: ActionPlan) -> ExplainedPlan:
    """What was decided on a plan, and what would pass instead."""
    workload = work.workloads.get(plan.workload_id)
    newest = workload is not None and workload.plan_id == plan.id
    would_pass = workloads.alternatives(work, workload) if workload is not None and newest else None
    return ExplainedPlan(plan, work.plans.newest_decision(plan.id), would_pass)
