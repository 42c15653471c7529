"""Replays recorded decisions under other policies. Pure.

1. A plan is evaluated as it was, at its own moment, on the facts that were recorded with its decision.
2. Some policies need a fact that was not recorded. It is not guessed: the outcome is then unknown, unless the plan is
   approved without the fact, or is denied by policies that need no more.
3. Each plan is replayed alone. Another outcome does not change the facts of later plans.
4. A plan that was denied only because another one was ahead of it in the queue is no difference.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from shared.policy import recorded
from shared.policy.decision import DecisionRecord, Finding, PlanView
from shared.policy.evaluate import evaluate, facts_needed
from shared.policy.facts import Facts, FactsNeeded
from shared.policy.policy_set import PolicySet, StoredPolicy
from shared.policy.queue import QUEUE_RULE
from shared.policy.recorded import Recorded


class BacktestOutcome(StrEnum):
    """The outcome of a decision, as it was recorded or as it is replayed."""

    APPROVED = "approved"
    DENIED = "denied"
    QUEUED = "queued"
    AWAITING_APPROVAL = "awaiting_approval"
    UNKNOWN = "not known"


@dataclass(frozen=True)
class ReplayedDecision:
    """findings: the reasons for the outcome. missing: the facts without which the outcome is unknown."""

    outcome: BacktestOutcome
    findings: tuple[Finding, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class DecisionDifference:
    """A plan whose replayed outcome differs from the recorded one, or is unknown.

    decided_so_today: whether today's policies have the same replayed outcome, so that the candidates change nothing.
    """

    decided_at: datetime
    plan: PlanView
    recorded_outcome: BacktestOutcome
    replayed: ReplayedDecision
    decided_so_today: bool


class Backtest:
    """Replays decisions under the candidates, and under the policies of today for comparison."""

    def __init__(self, candidates: PolicySet, today: PolicySet) -> None:
        self._candidates = candidates
        self._today = today

    def compare(self, past: DecisionRecord) -> DecisionDifference | None:
        """None when nothing would have changed. Raises pydantic.ValidationError for facts that cannot be read."""
        known = recorded.from_json(dict(past.facts))
        before = _recorded_outcome(past, known)
        replayed = replay(known, self._candidates)
        was_behind_another = any(violation.get("rule") == QUEUE_RULE for violation in past.violations)
        if replayed.outcome is before or (replayed.outcome is BacktestOutcome.APPROVED and was_behind_another):
            return None
        today = replay(known, self._today).outcome is replayed.outcome
        return DecisionDifference(past.decided_at, known.plan, before, replayed, today)


def replay(known: Recorded, policies: PolicySet) -> ReplayedDecision:
    """The decision that these policies make on recorded facts."""
    plan = known.plan
    matching = policies.matching(plan, known.now)
    facts = _with_enough_actions(known.facts, facts_needed(plan, matching))
    decision = evaluate(plan, matching, facts, known.now)
    if decision.approved:
        return ReplayedDecision(BacktestOutcome.APPROVED)
    missing = dict(_missing(plan, facts, matching))
    unsure = {finding.policy for finding in decision.violations} & missing.keys()
    certain = tuple(finding for finding in decision.violations if finding.policy not in unsure)
    if not unsure:
        if decision.approve_by(queue=plan.queue) is not None:
            return ReplayedDecision(BacktestOutcome.AWAITING_APPROVAL, certain)
        waits = decision.waits and plan.queue
        return ReplayedDecision(BacktestOutcome.QUEUED if waits else BacktestOutcome.DENIED, certain)
    # Whoever may wait is denied only for something that neither a release nor a person mends.
    if any(finding.approve_by is None and not (finding.waits_for and plan.queue) for finding in certain):
        return ReplayedDecision(BacktestOutcome.DENIED, certain)
    return ReplayedDecision(
        BacktestOutcome.UNKNOWN, certain, tuple(sorted({what for name in unsure for what in missing[name]}))
    )


def _with_enough_actions(facts: Facts, needs: FactsNeeded) -> Facts:
    """Without the actions of which a higher limit needs more than were recorded."""
    wanted = {query: query for query in needs.actions}
    enough = {
        query: times
        for query, times in facts.actions.items()
        if query not in wanted or wanted[query].is_answered_by(query, len(times))
    }
    return replace(facts, actions=enough)


def _recorded_outcome(past: DecisionRecord, known: Recorded) -> BacktestOutcome:
    if past.approved:
        return BacktestOutcome.APPROVED
    if known.awaits_approval:
        return BacktestOutcome.AWAITING_APPROVAL
    return BacktestOutcome.QUEUED if known.plan.queue and known.waits else BacktestOutcome.DENIED


def _missing(plan: PlanView, facts: Facts, policies: Sequence[StoredPolicy]) -> Iterator[tuple[str, list[str]]]:
    """For each policy that needs what was not recorded: its name, and what."""
    for policy in policies:
        if absent := list(_absent(facts_needed(plan, [policy]), facts, plan)):
            yield policy.name, absent


def _absent(needs: FactsNeeded, facts: Facts, plan: PlanView) -> Iterator[str]:
    for scope in needs.usage - facts.usage.keys():
        yield f"the usage of {plan.described(scope.kind)}"
    for query in needs.actions - facts.actions.keys():
        verbs = f" ({', '.join(query.verbs)})" if query.verbs else ""
        yield f"the actions{verbs} of {plan.described(query.scope.kind)} within {query.window}"
    for window in needs.windows - facts.service.keys():
        yield f"the telemetry over {window}"
    if needs.prices and facts.priced_on is None:
        yield "the date of the prices"
