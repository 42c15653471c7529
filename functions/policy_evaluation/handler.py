"""What policy evaluation does with its events: it calls operations, and tells of their results.

plan.proposed and plan.reconsidered have one plan evaluated. A plan from outside whose source is not bound to the
workload's team ends in a workload.rejected. A released reservation, a changed policy and the tick have
the queue looked through; see shared.operations.queue.

A look through the queue goes on with an event of its own, page by page, and so does what a decision releases. Such
events are hops, and after some of them the tick goes on instead: so no queue is too long for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from events import CATALOGUE
from events.foreign import Tick
from events.plan import (
    FindingData,
    PlanApproved,
    PlanAwaitingApproval,
    PlanDenied,
    PlanProposed,
    PlanQueued,
    PlanReconsidered,
)
from events.policy import PolicyChanged, QueueContinued, ReservationReleased
from events.workload import BadField, WorkloadRejected
from shared.errors import NotBound
from shared.eventing.event import Event, Outgoing
from shared.models.actor import Actor
from shared.operations.adopt import OutsidePlan
from shared.operations.bindings import BindingCache
from shared.operations.evaluate import EvaluatePlan, Evaluation, EvaluationOutcome, evaluate, superseded
from shared.operations.policy_cache import PolicyCache
from shared.operations.queue import ScannedPage, scan_all, scan_at_tick, scan_next, scan_released
from shared.operations.resume import resume_queued
from shared.operations.submit import record_rejection
from shared.policy.decision import Finding, reason

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping

    from shared.models.plan import ActionPlan
    from shared.store.unit_of_work import UnitOfWork

ACTOR = Actor.function("policy-evaluation")
ACCEPTS = CATALOGUE.of(PlanProposed, PlanReconsidered, Tick, PolicyChanged, ReservationReleased, QueueContinued)

QUEUE_SUBJECT = "queue"
LAST_HOP = 16
"""The hop from which on the tick goes on with a look through the queue. What follows the decision on a plan that it
finds, a rollback included, has hops enough left."""

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
    EvaluationOutcome.AWAITING_APPROVAL,
    EvaluationOutcome.STILL_AWAITING_APPROVAL,
)


class PolicyEvaluation:
    """The function's handler; it keeps the compiled policies between events."""

    def __init__(self) -> None:
        self._policies = PolicyCache()
        self._bindings = BindingCache()

    def handle(self, event: Event, work: UnitOfWork) -> Sequence[Outgoing]:
        """plan.approved, plan.denied, plan.queued, plan.awaitingapproval or workload.rejected.

        Nothing for a plan that was decided before. Raises OperationRefused.
        """
        match event.data:
            case PlanProposed() | PlanReconsidered():
                command = _command(event, event.data)
                try:
                    evaluation = evaluate(work, command, ACTOR, self._policies, self._bindings)
                except NotBound as refused:  # nothing was written so far
                    return [_rejection(event, work, command.workload_id, refused)]
                return [*_outgoing(evaluation), *_released(event, work, evaluation)]
            case QueueContinued(released=released, after=after) if released:
                return self._look_for(event, work, released, after)
            case ReservationReleased(released=released) if released:
                return [*_resumed(work), *self._look_for(event, work, released, None)]
            case QueueContinued():
                return _looked(event, work, scan_next(work, self._policies.current(work), ACTOR))
            case Tick() if work.queue.anyone():
                page = scan_at_tick(work, self._policies.current(work), ACTOR)
                return [*_resumed(work), *_looked(event, work, page)]
            case PolicyChanged() | ReservationReleased() if work.queue.anyone():
                if isinstance(event.data, PolicyChanged):
                    work.plans.look_at_awaiting(work.now)
                page = scan_all(work, self._policies.current(work), ACTOR)
                return [*_resumed(work), *_looked(event, work, page)]
        return []

    def _look_for(
        self, event: Event, work: UnitOfWork, released: Mapping[str, int | None], after: uuid.UUID | None
    ) -> list[Outgoing]:
        page = scan_released(work, released, after, self._policies.current(work), ACTOR)
        if page.more and event.hop >= LAST_HOP:
            work.queue.want_rest(page.after)
        return _looked(event, work, page)


def _resumed(work: UnitOfWork) -> list[Outgoing]:
    return [_reconsidered(plan) for plan in resume_queued(work, ACTOR)]


def _looked(event: Event, work: UnitOfWork, page: ScannedPage) -> list[Outgoing]:
    found = [_reconsidered(plan) for plan in page.plans]
    for ended in page.superseded:
        evaluation = superseded(ended)
        found += [*_outgoing(evaluation), *_released(event, work, evaluation)]
    if page.more and event.hop < LAST_HOP:
        found.append(Outgoing(QueueContinued(after=page.after, released=dict(page.left)), QUEUE_SUBJECT))
    return found


def _released(event: Event, work: UnitOfWork, evaluation: Evaluation) -> list[Outgoing]:
    """Announces what a decision leaves to others, when a plan waits for it."""
    released = evaluation.released
    if not released or not work.queue.anyone_waits_for(released):
        return []
    if event.hop >= LAST_HOP:
        work.queue.want_all()
        return []
    return [Outgoing(QueueContinued(released=dict(released)), QUEUE_SUBJECT)]


def _reconsidered(plan: ActionPlan) -> Outgoing:
    return Outgoing(PlanReconsidered.of(plan), str(plan.workload_id), plan.traceparent)


def _rejection(event: Event, work: UnitOfWork, workload_id: uuid.UUID, refused: NotBound) -> Outgoing:
    record_rejection(work, str(workload_id), refused.errors, Actor.event_source(event.source))
    known = work.workloads.get(workload_id)
    errors = tuple(BadField(field=field, message=message) for field, message in refused.errors)
    data = WorkloadRejected(workload=workload_id, name=known.spec.name if known else "", errors=errors)
    return Outgoing(data, str(workload_id))


def _command(event: Event, data: PlanProposed | PlanReconsidered) -> EvaluatePlan:
    outside = None
    if isinstance(data, PlanProposed):
        outside = OutsidePlan(data.generation, data.source, data.decision, Actor.event_source(event.source))
    return EvaluatePlan(data.workload, data.plan, f"{event.source}\n{event.id}", outside)


def _outgoing(evaluation: Evaluation) -> list[Outgoing]:
    plan, findings = evaluation.plan, evaluation.violations
    ended = [one for other in evaluation.superseded for one in _outgoing(superseded(other))]
    data: PlanApproved | PlanQueued | PlanAwaitingApproval | PlanDenied
    match evaluation.outcome:
        case EvaluationOutcome.APPROVED:
            usd = plan.amounts.usd_per_hour
            data = PlanApproved.of(plan, usd_per_hour=usd, warnings=_warnings(evaluation))
        case EvaluationOutcome.QUEUED:
            data = PlanQueued.of(
                plan, waits_for=tuple(evaluation.waits_for), message=_shortened(reason(findings), MAX_MESSAGE)
            )
        case EvaluationOutcome.AWAITING_APPROVAL:
            assert evaluation.approve_by is not None  # of every plan that awaits one
            message = _shortened(reason(findings), MAX_MESSAGE)
            data = PlanAwaitingApproval.of(plan, approve_by=evaluation.approve_by, message=message)
        case EvaluationOutcome.DENIED | EvaluationOutcome.SUPERSEDED:
            data = PlanDenied.of(
                plan,
                violations=tuple(map(_finding_data, findings[:MAX_FINDINGS])),
                more_violations=max(0, len(findings) - MAX_FINDINGS),
                warnings=_warnings(evaluation),
            )
        case _:
            return ended
    return [Outgoing(data, str(plan.workload_id), plan.traceparent), *ended]


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
