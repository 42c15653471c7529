"""The queue: who waits, who may go past, who is decided again. Its rules are those of shared.policy.queue.

A cue (a released reservation, a changed policy, the tick) does not decide anything: it looks through a page
of the queue in its order, finds the plans that would be approved if those found before them were (or denied), and
has them reconsidered. The decision itself is made one plan a transaction, under the scopes' locks. Of the others it
notes what they wait for now.
"""

import uuid
from collections.abc import Iterable, Sequence

from events.plan import PlanReconsidered
from events.policy import QueueContinued
from shared.eventing.event import Outgoing
from shared.models.plan import ActionPlan
from shared.policy.decision import Finding, PolicyDecision, reason
from shared.policy.policy_set import PolicySet
from shared.policy.queue import Cue, Place, ahead, in_the_way, lacking
from shared.policy.resources import ScopedResource
from shared.store.judging import Judgement, case_for, look_at
from shared.store.unit_of_work import UnitOfWork

PAGE = 50
MAX_QUEUE = 1000
QUEUE_SUBJECT = "queue"


def let_past(plan: ActionPlan, judgement: Judgement, work: UnitOfWork) -> Finding | None:
    """Whether a plan that fits may go past those that wait ahead of it; counts it, or says who is in the way."""
    demand = judgement.demand
    if not demand.competes:
        return None
    earlier = ahead(_places(work), Place.of(plan, work.now), demand)
    blocking = in_the_way(earlier, demand)
    if blocking is None:
        work.plans.count_overtaking([place.plan_id for place in earlier])
    return blocking


def decide_again(policies: PolicySet, after: uuid.UUID | None, work: UnitOfWork) -> list[Outgoing]:
    """Has reconsidered what would fit now, of one page of the queue, and says where to go on.

    Where the page ended is a place, not a plan: that one may have left the queue since.
    """
    page = work.plans.queue(PAGE + 1, after=None if after is None else work.plans.get(after))
    cue = Cue(_places(work))
    found: list[Outgoing] = []
    for plan in page[:PAGE]:
        decision = _foreseen(plan, policies, cue, work)
        if decision.approved or not decision.waits:  # what waiting cannot mend any more is denied, and leaves
            found.append(Outgoing(PlanReconsidered.of(plan), str(plan.workload_id)))
        else:
            note(plan, decision.violations, work)
    if len(page) > PAGE:
        found.append(Outgoing(QueueContinued(after=page[PAGE - 1].id), QUEUE_SUBJECT))
    return found


def note(plan: ActionPlan, findings: Sequence[Finding], work: UnitOfWork) -> None:
    """Brings up to date what a plan in the queue waits for, when that is not what it was."""
    before = Place.of(plan, work.now)
    now = before.looked_at(findings)
    if now != before:
        work.plans.update_queue_entry(plan, texts(now.waits_for), overtaken=now.overtaken, reason=reason(findings))


def waits_for(findings: Iterable[Finding]) -> list[str]:
    """What must be released for a plan to go on."""
    return texts(lacking(findings))


def texts(wanted: Iterable[ScopedResource]) -> list[str]:
    """As it is stored and told: "team/search gpus[H100]"."""
    return sorted(map(str, wanted))


def _foreseen(plan: ActionPlan, policies: PolicySet, cue: Cue, work: UnitOfWork) -> PolicyDecision:
    """What would be decided."""
    workload = work.workloads.get(plan.workload_id)
    if workload is None:
        raise LookupError(f"plan {plan.id} is in the queue without a workload")
    held = work.ledger.reserved(workload.id, plan.decision.cluster)
    view = look_at(plan, workload, work.deployments.live(workload.id), held, work)
    case = case_for(view, policies, work, work.now)
    facts = work.facts(case.needs, view)
    return cue.look(Place.of(plan, work.now), case.demand, case.policies, facts, work.now)


def _places(work: UnitOfWork) -> list[Place]:
    return [Place.of(plan, work.now) for plan in work.plans.queue(MAX_QUEUE)]
