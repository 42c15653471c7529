"""The queue: who waits, who may go past, who is decided again.

A cue (a released reservation, a changed policy, the tick) does not decide anything: it looks through a page
of the queue in its order, finds the plans that would be approved if those found before them were (or denied), and
has them reconsidered. The decision itself is made one plan a transaction, under the scopes' locks.
"""

import uuid
from collections.abc import Sequence
from dataclasses import replace

from events.plan import PlanReconsidered
from events.policy import QueueContinued
from shared.eventing.event import Outgoing
from shared.models.amounts import NOTHING
from shared.models.plan import ActionPlan
from shared.policy.decision import Finding, PlanView, PolicyDecision
from shared.policy.evaluate import evaluate
from shared.policy.facts import Facts, ScopeUsage
from shared.policy.policy_set import PolicySet
from shared.policy.queue import MAX_OVERTAKES
from shared.policy.vocabulary import CountingScope, ScopeKind
from shared.store.judging import Judgement, case_for, competing, in_the_way, look_at
from shared.store.unit_of_work import UnitOfWork

PAGE = 50
MAX_QUEUE = 1000
QUEUE_SUBJECT = "queue"


def let_past(plan: ActionPlan, judgement: Judgement, work: UnitOfWork) -> Finding | None:
    """Whether a plan that fits may go past those that wait ahead of it; counts it, or says who is in the way.

    One that takes no more than its workload has takes nothing away from those who wait, and goes past uncounted.
    """
    if judgement.view.reduces or not judgement.needs.usage or not _takes_more(judgement.view):
        return None
    earlier = competing(plan, judgement.needs, work.plans.queue(MAX_QUEUE), work.now)
    blocking = in_the_way(earlier, judgement.needs)
    if blocking is None:
        work.plans.overtake([place.plan_id for place in earlier])
    return blocking


def decide_again(policies: PolicySet, after: uuid.UUID | None, work: UnitOfWork) -> list[Outgoing]:
    """Has reconsidered what would fit now, of one page of the queue, and says where to go on.

    Where the page ended is a place, not a plan: that one may have left the queue since.
    """
    page = work.plans.queue(PAGE + 1, after=None if after is None else work.plans.get(after))
    starved = [plan for plan in work.plans.queue(MAX_QUEUE) if plan.overtaken >= MAX_OVERTAKES]
    found: list[Outgoing] = []
    promised: dict[CountingScope, list[PlanView]] = {}
    for plan in page[:PAGE]:
        view, decision = _foreseen(plan, policies, promised, starved, work)
        if decision.approved:
            for kind in ScopeKind:
                promised.setdefault(view.counting(kind), []).append(view)
            starved = [other for other in starved if other.id != plan.id]
        if decision.approved or not decision.waits:  # what waiting cannot mend any more is denied, and leaves
            found.append(Outgoing(PlanReconsidered.of(plan), str(plan.workload_id)))
    if len(page) > PAGE:
        found.append(Outgoing(QueueContinued(after=page[PAGE - 1].id), QUEUE_SUBJECT))
    return found


def _foreseen(
    plan: ActionPlan,
    policies: PolicySet,
    promised: dict[CountingScope, list[PlanView]],
    starved: Sequence[ActionPlan],
    work: UnitOfWork,
) -> tuple[PlanView, PolicyDecision]:
    """What would be decided. Who is held back by a starved plan that does not fit either would only hear it again."""
    workload = work.workloads.get(plan.workload_id)
    if workload is None:
        raise LookupError(f"plan {plan.id} is in the queue without a workload")
    held = work.ledger.reserved(workload.id, plan.decision.cluster)
    view = look_at(plan, workload, work.deployments.live(workload.id), held, work)
    case = case_for(view, policies, work.now)
    facts = _with_promises(work.facts(case.needs, view), promised)
    decision = evaluate(view, case.policies, facts, work.now)
    if decision.approved and _takes_more(view):
        held_back = in_the_way(competing(plan, case.needs, starved, work.now), case.needs)
        if held_back is not None:
            decision = replace(decision, approved=False, violations=(held_back,), waits=True)
    return view, decision


def _takes_more(view: PlanView) -> bool:
    """Whether it needs more of anything but money than its workload holds."""
    more = (amounts - view.held.get(sku, NOTHING) for sku, amounts in view.lines.items())
    return any(max(extra.replicas, extra.cpu, extra.memory, extra.gpus) > 0 for extra in more)


def _with_promises(facts: Facts, promised: dict[CountingScope, list[PlanView]]) -> Facts:
    """The facts as if the plans that were found before were approved already."""
    usage = dict(facts.usage)
    for scope, known in usage.items():
        by_sku = dict(known.by_sku)
        for view in promised.get(scope, ()):
            for sku, amounts in view.lines.items():
                by_sku[sku] = by_sku.get(sku, NOTHING) + amounts - view.held.get(sku, NOTHING)
        usage[scope] = ScopeUsage(by_sku, known.month_to_date_usd)
    return replace(facts, usage=usage)


def waits_for(findings: Sequence[Finding]) -> list[str]:
    """The scopes whose release may let a plan go on."""
    return sorted({finding.scope for finding in findings})
