"""The queue: which plan may pass which, and which plans are evaluated again. Its rules are in shared.policy.queue.

A released reservation, a changed policy or the tick decides nothing. It looks through one page of the queue in its
order and finds the plans that would be approved, or that waiting cannot help. Each of these is then evaluated on its
own, in its own transaction, under the locks of its scopes. For the others the queue records what they wait for now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.operations.plan_view import applicable_policies, stored_plan_view
from shared.operations.supersede import supersede
from shared.policy.decision import reason
from shared.policy.queue import QueueEntry, QueueScan, blocking_finding, competitors_ahead, missing_resources

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Sequence

    from shared.models.actor import Actor
    from shared.models.plan import ActionPlan
    from shared.operations.plan_view import Assessment
    from shared.policy.decision import Finding, PolicyDecision
    from shared.policy.policy_set import PolicySet
    from shared.policy.resources import ScopedResource
    from shared.store.unit_of_work import UnitOfWork

PAGE = 50
MAX_QUEUE = 1000


@dataclass(frozen=True)
class ScannedPage:
    """What one look found. plans: to be evaluated again. next_after: the plan that the next page follows, or None."""

    plans: Sequence[ActionPlan]
    next_after: uuid.UUID | None


@dataclass(frozen=True)
class SupersededPlan:
    """A plan that lost its place to a newer one of its workload."""

    plan: ActionPlan
    newer: uuid.UUID
    reason: str


def pass_queue(work: UnitOfWork, plan: ActionPlan, assessment: Assessment) -> Finding | None:
    """Lets a plan that fits pass the ones ahead of it, and counts that; or returns what is in the way."""
    demand = assessment.demand
    if not demand.competes:
        return None
    earlier = competitors_ahead(_places(work), QueueEntry.of(plan, work.now), demand)
    blocking = blocking_finding(earlier, demand)
    if blocking is None:
        work.plans.count_overtaking([place.plan_id for place in earlier])
    return blocking


def scan_queue(work: UnitOfWork, after: uuid.UUID | None, policies: PolicySet) -> ScannedPage:
    """Looks through the page that follows the plan `after`, or the first one.

    The page follows a place in the order, not a plan in the queue: that plan may have left it since.
    """
    page = work.plans.queue(PAGE + 1, after=None if after is None else work.plans.get(after))
    scan = QueueScan(_places(work))
    found: list[ActionPlan] = []
    for plan in page[:PAGE]:
        decision = _foreseen(work, plan, policies, scan)
        if decision.approved or not decision.waits:  # what waiting cannot help is denied, and leaves the queue
            found.append(plan)
        else:
            update_entry(work, plan, decision.violations)
    return ScannedPage(found, page[PAGE - 1].id if len(page) > PAGE else None)


def supersede_queued(work: UnitOfWork, actor: Actor) -> list[SupersededPlan]:
    """Ends the queued plans of workloads that were withdrawn or submitted again since, one page of them."""
    plans = work.plans.superseded_in_queue(PAGE)
    workloads = work.workloads.get_many({plan.workload_id for plan in plans})
    ended = []
    for plan in plans:
        if (workload := workloads.get(plan.workload_id)) is None:
            continue
        ended.append(SupersededPlan(plan, workload.plan_id, supersede(work, plan, workload, actor)))
    return ended


def update_entry(work: UnitOfWork, plan: ActionPlan, findings: Sequence[Finding]) -> None:
    """Records what a queued plan waits for, when that has changed."""
    before = QueueEntry.of(plan, work.now)
    now = before.updated(findings)
    if now != before:
        work.plans.update_queue_entry(plan, texts(now.waits_for), overtaken=now.overtaken, reason=reason(findings))


def waits_for(findings: Iterable[Finding]) -> list[str]:
    """What must be released before a plan can go on, for instance "team/search gpus[H100]"."""
    return texts(missing_resources(findings))


def texts(wanted: Iterable[ScopedResource]) -> list[str]:
    """Scoped resources as text, in their order."""
    return sorted(map(str, wanted))


def _foreseen(work: UnitOfWork, plan: ActionPlan, policies: PolicySet, scan: QueueScan) -> PolicyDecision:
    """What would be decided."""
    workload = work.workloads.get(plan.workload_id)
    if workload is None:
        raise LookupError(f"plan {plan.id} is in the queue without a workload")
    held = work.ledger.reserved(workload.id, plan.decision.cluster)
    view = stored_plan_view(work, plan, workload, work.deployments.live(workload.id), held)
    applicable = applicable_policies(work, view, policies, work.now)
    facts = work.facts.load(applicable.needs, view, work.now)
    return scan.evaluate(QueueEntry.of(plan, work.now), applicable.demand, applicable.policies, facts, work.now)


def _places(work: UnitOfWork) -> list[QueueEntry]:
    return [QueueEntry.of(plan, work.now) for plan in work.plans.queue(MAX_QUEUE)]
