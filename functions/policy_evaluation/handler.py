"""What policy evaluation does with its events: it calls operations, and tells of their results.

plan.proposed and plan.reconsidered have one plan evaluated. A released reservation, a changed policy and the tick have
the queue looked through.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from events import CATALOGUE
from events.foreign import Tick
from events.plan import FindingData, PlanApproved, PlanDenied, PlanProposed, PlanQueued, PlanReconsidered
from events.policy import PolicyChanged, QueueContinued, ReservationReleased
from shared.eventing.event import Event, Outgoing
from shared.metrics import DECISIONS, DRY_RUN_DENIALS, count
from shared.models.actor import Actor
from shared.operations.adopt import OutsidePlan
from shared.operations.evaluate import EvaluatePlan, Evaluation, EvaluationOutcome, evaluate, superseded
from shared.operations.policy_cache import PolicyCache
from shared.operations.queue import scan_queue, supersede_queued
from shared.operations.resume import resume_queued
from shared.policy.decision import Finding, reason

if TYPE_CHECKING:
    from shared.models.plan import ActionPlan
    from shared.store.unit_of_work import UnitOfWork

ACTOR = Actor.function("policy-evaluation")
ACCEPTS = CATALOGUE.of(PlanProposed, PlanReconsidered, Tick, PolicyChanged, ReservationReleased, QueueContinued)

QUEUE_SUBJECT = "queue"

MAX_FINDINGS = 100
MAX_VALUE = 500
MAX_MESSAGE = 1000
"""Characters of a finding's texts. An event stays far below the 1 MiB that a broker carries; the stored decision has
every finding in full."""

_DECIDED = (
    EvaluationOutcome.APPROVED,
    EvaluationOutcome.DENIED,
    EvaluationOutcome.QUEUED,
    EvaluationOutcome.STILL_QUEUED,
)


class PolicyEvaluation:
    """The function's handler; it keeps the compiled policies between events."""

    def __init__(self) -> None:
        self._policies = PolicyCache()

    def handle(self, event: Event, work: UnitOfWork) -> Sequence[Outgoing]:
        """plan.approved, plan.denied or plan.queued; nothing for a plan that was decided before.

        Raises OperationRefused.
        """
        match event.data:
            case PlanProposed() | PlanReconsidered():
                evaluation = evaluate(work, _command(event, event.data), ACTOR, self._policies)
                _count(evaluation)
                return _outgoing(evaluation)
            case QueueContinued():
                return self._scan(work, event.data)
            case Tick() | PolicyChanged() | ReservationReleased() if work.plans.anything_queued():
                found = [_reconsidered(plan) for plan in resume_queued(work, ACTOR)]
                found += self._scan(work, None)
                for ended in supersede_queued(work, ACTOR):
                    found += _outgoing(superseded(ended.plan, ended.newer, ended.reason))
                return found
        return []

    def _scan(self, work: UnitOfWork, continued: QueueContinued | None) -> list[Outgoing]:
        page = scan_queue(work, continued.after if continued else None, self._policies.current(work))
        found = [_reconsidered(plan) for plan in page.plans]
        if page.next_after is not None:
            found.append(Outgoing(QueueContinued(after=page.next_after), QUEUE_SUBJECT))
        return found


def _reconsidered(plan: ActionPlan) -> Outgoing:
    return Outgoing(PlanReconsidered.of(plan), str(plan.workload_id))


def _command(event: Event, data: PlanProposed | PlanReconsidered) -> EvaluatePlan:
    outside = None
    if isinstance(data, PlanProposed):
        outside = OutsidePlan(data.generation, data.source, data.decision, Actor.event_source(event.source))
    return EvaluatePlan(data.workload, data.plan, f"{event.source}\n{event.id}", outside)


def _outgoing(evaluation: Evaluation) -> list[Outgoing]:
    plan, findings = evaluation.plan, evaluation.violations
    data: PlanApproved | PlanQueued | PlanDenied
    match evaluation.outcome:
        case EvaluationOutcome.APPROVED:
            usd = plan.amounts.usd_per_hour
            data = PlanApproved.of(plan, usd_per_hour=usd, warnings=_warnings(evaluation))
        case EvaluationOutcome.QUEUED:
            data = PlanQueued.of(
                plan, waits_for=tuple(evaluation.waits_for), message=_shortened(reason(findings), MAX_MESSAGE)
            )
        case EvaluationOutcome.DENIED | EvaluationOutcome.SUPERSEDED:
            data = PlanDenied.of(
                plan,
                violations=tuple(map(_finding_data, findings[:MAX_FINDINGS])),
                more_violations=max(0, len(findings) - MAX_FINDINGS),
                warnings=_warnings(evaluation),
            )
        case _:
            return []
    return [Outgoing(data, str(plan.workload_id))]


def _warnings(evaluation: Evaluation) -> tuple[str, ...]:
    return tuple(_shortened(warning, MAX_MESSAGE) for warning in evaluation.warnings[:MAX_FINDINGS])


def _shortened(text: str, limit: int) -> str:
    more = len(text) - limit
    return text if more <= 0 else f"{text[:limit]}… and {more} more characters"


def _finding_data(finding: Finding) -> FindingData:
    return FindingData(
        policy=finding.policy,
        rule=finding.rule,
        field=_shortened(finding.field, MAX_VALUE),
        limit=_shortened(finding.limit, MAX_VALUE),
        observed=_shortened(finding.observed, MAX_VALUE),
        message=_shortened(finding.message, MAX_MESSAGE),
        until=finding.until,
    )


def _count(evaluation: Evaluation) -> None:
    if evaluation.outcome in _DECIDED:
        count(DECISIONS, verdict="approved" if evaluation.outcome is EvaluationOutcome.APPROVED else "denied")
    for finding in evaluation.dry_run:
        count(DRY_RUN_DENIALS, policy=finding.policy, rule=finding.rule)
