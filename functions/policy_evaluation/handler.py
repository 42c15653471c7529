"""What policy does with a proposed plan.

Everything that decides is read in the deciding transaction: the plan and its workload from their rows,
usage from the ledger after the scopes that it counts in were locked, the policy set by its revision. The event only
says which plan is meant. A plan that only quota or capacity refuses waits, when its workload says so.
"""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from events import CATALOGUE
from events.foreign import Tick
from events.plan import Finding as FindingData
from events.plan import PlanApproved, PlanDenied, PlanProposed, PlanQueued, PlanReconsidered
from events.policy import PolicyChanged, QueueContinued, ReservationReleased
from functions.policy_evaluation import queueing
from functions.policy_evaluation.adopting import adopt
from shared.errors import PoisonEvent
from shared.eventing.event import Event, Outgoing
from shared.metrics import DECISIONS, DRY_RUN_DENIALS, count
from shared.models.actor import Actor
from shared.models.lifecycle import UNDECIDED_PLANS, Phase, PlanStatus
from shared.models.plan import ActionPlan
from shared.models.stored import Workload
from shared.policy import recorded
from shared.policy.decision import DecisionRecord, Finding, reason
from shared.policy.facts import Facts
from shared.store import keeping
from shared.store.judging import Judgement, case_for, judge, look_at
from shared.store.ledger import Reservation
from shared.store.policies import PolicyCache
from shared.store.unit_of_work import UnitOfWork

ACTOR = Actor.function("policy-evaluation")
ACCEPTS = CATALOGUE.of(PlanProposed, PlanReconsidered, Tick, PolicyChanged, ReservationReleased, QueueContinued)

HOLD = timedelta(minutes=10)
"""How long an approved plan may wait for its execution before it is proposed again."""


class Evaluation:
    """The function's handler; it keeps the compiled policies between events."""

    def __init__(self) -> None:
        self._policies = PolicyCache()

    def handle(self, event: Event, work: UnitOfWork) -> Sequence[Outgoing]:
        """plan.approved, plan.denied or plan.queued; nothing for a plan that was decided before. Raises PoisonEvent."""
        match event.data:
            case PlanProposed() | PlanReconsidered():
                return self._judge(event, event.data, work)
            case QueueContinued():
                return queueing.decide_again(self._policies.current(work.policies), event.data.after, work)
            case Tick() | PolicyChanged() | ReservationReleased() if work.plans.anything_queued():
                again = queueing.decide_again(self._policies.current(work.policies), None, work)
                return [*again, *_leave_queue(work)]
        return []

    def _judge(self, event: Event, data: PlanProposed | PlanReconsidered, work: UnitOfWork) -> Sequence[Outgoing]:
        workload = work.workloads.get(data.workload, lock=True)
        if workload is None:
            raise PoisonEvent(f"there is no workload {data.workload}")
        plan = work.plans.get(data.plan)
        if plan is None:
            if not isinstance(data, PlanProposed):
                raise PoisonEvent(f"there is no plan {data.plan}")
            plan, workload = adopt(data, workload, Actor.event_source(event.source), work)
        if plan.workload_id != workload.id:
            raise PoisonEvent(f"plan {plan.id} is not about workload {workload.id}")
        if plan.status not in UNDECIDED_PLANS:
            return []
        if workload.plan_id != plan.id:
            return [_superseded(plan, workload, work)]
        return self._decide(event, plan, workload, work)

    def _decide(self, event: Event, plan: ActionPlan, workload: Workload, work: UnitOfWork) -> Sequence[Outgoing]:
        live = work.deployments.live(workload.id)
        holdings = work.ledger.holdings(workload.id)
        view = look_at(plan, workload, live, holdings.at(plan.decision.cluster), work)
        case = case_for(view, self._policies.current(work.policies), work, work.now)
        around = work.surroundings(view, case.needs, holdings)
        work.ledger.lock_scopes(case.needs.locked)
        if not live:  # it runs nowhere, so an earlier plan's hold on another cluster is for nothing
            work.ledger.leave(holdings, workload.spec.team, plan.decision.cluster)
            for lines in holdings.elsewhere(plan.decision.cluster).values():
                around = around.released(lines)
        judgement = judge(case, around, work)
        if judgement.decision.approved and (in_the_way := queueing.let_past(plan, judgement, work)) is not None:
            decision = replace(judgement.decision, approved=False, violations=(in_the_way,), waits=True)
            judgement = replace(judgement, decision=decision)
        _record(event, judgement, around, workload, work)
        if judgement.decision.approved:
            return [_approve(plan, workload, judgement, work)]
        lines = keeping.kept(live, judgement.view.held, work)
        reservation = Reservation(workload.id, plan.decision.cluster, workload.spec.team, lines)
        work.ledger.settle([(reservation, plan.id)])
        if judgement.decision.waits and workload.spec.queue:
            return _enqueue(plan, workload, judgement, work)
        return [_deny(plan, workload, judgement, work)]


def _approve(plan: ActionPlan, workload: Workload, judgement: Judgement, work: UnitOfWork) -> Outgoing:
    if plan.decision.verb.applies:
        lines = judgement.view.lines
        reservation = Reservation(workload.id, plan.decision.cluster, workload.spec.team, lines)
        work.ledger.hold(reservation, plan.id, work.now + HOLD)
    if not judgement.view.reduces:
        work.spend(judgement.view)
    warnings = judgement.decision.warnings
    work.plans.approve(plan, work.now + HOLD)
    work.workloads.advance(workload, Phase.APPROVED)
    work.audit("plan.approved", str(workload.id), ACTOR, plan=str(plan.id), warnings=list(warnings))
    usd = plan.amounts.usd_per_hour
    return Outgoing(PlanApproved.of(plan, usd_per_hour=usd, warnings=warnings), str(workload.id))


def _enqueue(plan: ActionPlan, workload: Workload, judgement: Judgement, work: UnitOfWork) -> Sequence[Outgoing]:
    findings = judgement.decision.violations
    if plan.status is PlanStatus.QUEUED:
        queueing.note(plan, findings, work)
        return []
    waits_for, message = queueing.waits_for(findings), reason(findings)
    work.plans.enqueue(plan, work.now, waits_for, reason=message)
    work.workloads.advance(workload, Phase.QUEUED, reason=message)
    told: list[str] = [finding.message for finding in findings]
    work.audit(
        "plan.queued", str(workload.id), ACTOR, plan=str(plan.id), waits_for=list(waits_for), violations=list(told)
    )
    return [Outgoing(PlanQueued.of(plan, waits_for=tuple(waits_for), message=message), str(workload.id))]


def _deny(plan: ActionPlan, workload: Workload, judgement: Judgement, work: UnitOfWork) -> Outgoing:
    decision = judgement.decision
    message = reason(decision.violations)
    work.plans.deny(plan, message)
    work.workloads.advance(workload, Phase.DENIED, reason=message)
    work.audit(
        "plan.denied", str(workload.id), ACTOR, plan=str(plan.id), violations=[f.message for f in decision.violations]
    )
    violations = tuple(_told(finding) for finding in decision.violations)
    return Outgoing(PlanDenied.of(plan, violations=violations, warnings=decision.warnings), str(workload.id))


def _superseded(plan: ActionPlan, workload: Workload, work: UnitOfWork) -> Outgoing:
    message = f"superseded by plan {workload.plan_id}"
    work.plans.supersede(plan, message)
    work.audit("plan.superseded", str(workload.id), ACTOR, plan=str(plan.id), by=str(workload.plan_id))
    finding = Finding("", "superseded", "plan", str(workload.plan_id), str(plan.id), message)
    return Outgoing(PlanDenied.of(plan, violations=(_told(finding),)), str(workload.id))


def _leave_queue(work: UnitOfWork) -> Sequence[Outgoing]:
    """Ends the plans in the queue whose workloads were withdrawn or submitted again, and so lost their place."""
    left = work.plans.superseded_in_queue(queueing.PAGE)
    workloads = work.workloads.get_many({plan.workload_id for plan in left})
    return [_superseded(plan, workloads[plan.workload_id], work) for plan in left]


def _record(event: Event, judgement: Judgement, around: Facts, workload: Workload, work: UnitOfWork) -> None:
    """Keeps the verdict. A plan may be judged again, so the event counts in the row's id.

    The facts that it rested on are kept with it, and what else a policy of tomorrow may ask about that moment.
    """
    view, decision, known = judgement.view, judgement.decision, judgement.facts
    facts = replace(known, usage={**around.usage, **known.usage}, priced_on=known.priced_on or around.priced_on)
    work.plans.record_decision(
        DecisionRecord(
            id=uuid.uuid5(view.plan_id, f"{event.source}\n{event.id}"),
            plan_id=view.plan_id,
            workload_id=view.workload_id,
            approved=decision.approved,
            violations=[recorded.finding_to_json(finding) for finding in decision.violations],
            warnings=decision.warnings,
            determining=decision.determining,
            dry_run=[recorded.finding_to_json(finding) for finding in decision.dry_run],
            facts=recorded.to_json(view, facts, work.now, waits=decision.waits),
            duration_us=judgement.microseconds,
            decided_at=work.now,
        )
    )
    count(DECISIONS, verdict="approved" if decision.approved else "denied")
    for finding in decision.dry_run:
        count(DRY_RUN_DENIALS, policy=finding.policy, rule=finding.rule)


def _told(finding: Finding) -> FindingData:
    return FindingData(
        policy=finding.policy,
        rule=finding.rule,
        field=finding.field,
        limit=finding.limit,
        observed=finding.observed,
        message=finding.message,
        until=finding.until,
    )
