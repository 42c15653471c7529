"""Recorded decisions against other policies: what would have been decided. Pure.

1. A plan is judged as it was, at its own moment, on the facts that were recorded with its decision.
2. A fact that these policies need and that was not recorded is not guessed: where it matters, the verdict is not
   known. It does not matter where the plan is approved without it, or denied by policies that need nothing more.
3. What another verdict would have changed for later plans is not carried on.
4. A plan that only had to let another one go first would have had to under other policies too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.policy import recorded
from shared.policy.decision import DecisionRecord, Finding, PlanView
from shared.policy.evaluate import evaluate, needs_of
from shared.policy.facts import Facts, Needs
from shared.policy.policy_set import PolicySet, StoredPolicy
from shared.policy.queue import QUEUE_RULE
from shared.policy.recorded import Recorded


class Verdict(StrEnum):
    """What became of a plan, or would have."""

    APPROVED = "approved"
    DENIED = "denied"
    QUEUED = "queued"
    UNKNOWN = "not known"


@dataclass(frozen=True)
class Replayed:
    """findings: why, in the verdict's words. missing: the facts without which the verdict is not known."""

    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """A plan that would have fared otherwise, or of which that is not known.

    already: today's policies would have decided so too; it is not the candidates that make the difference.
    """

    decided_at: datetime
    plan: PlanView
    was: Verdict
    would: Replayed
    already: bool


class Backtest:
    """Candidates beside the policies of today; both replace those of the time."""

    def __init__(self, candidates: PolicySet, today: PolicySet) -> None:
        self._candidates = candidates
        self._today = today

    def compare(self, past: DecisionRecord) -> Difference | None:
        """None when nothing would have changed. Raises pydantic.ValidationError for facts that cannot be read."""
        known = recorded.from_json(dict(past.facts))
        was = _was(past, known)
        would = replay(known, self._candidates)
        let_past = any(violation.get("rule") == QUEUE_RULE for violation in past.violations)
        if would.verdict is was or (would.verdict is Verdict.APPROVED and let_past):
            return None
        already = replay(known, self._today).verdict is would.verdict
        return Difference(past.decided_at, known.plan, was, would, already)


def replay(known: Recorded, policies: PolicySet) -> Replayed:
    """What these policies would have decided."""
    plan, facts = known.plan, known.facts
    matching = policies.matching(plan, known.now)
    decision = evaluate(plan, matching, facts, known.now)
    if decision.approved:
        return Replayed(Verdict.APPROVED)
    missing = dict(_missing(plan, facts, matching))
    unsure = {finding.policy for finding in decision.violations} & missing.keys()
    certain = tuple(finding for finding in decision.violations if finding.policy not in unsure)
    if not unsure:
        waits = decision.waits and plan.queue
        return Replayed(Verdict.QUEUED if waits else Verdict.DENIED, certain)
    # Whoever may wait is denied only for something that no release mends.
    if any(not finding.waits_for or not plan.queue for finding in certain):
        return Replayed(Verdict.DENIED, certain)
    return Replayed(Verdict.UNKNOWN, certain, tuple(sorted({what for name in unsure for what in missing[name]})))


def _was(past: DecisionRecord, known: Recorded) -> Verdict:
    if past.approved:
        return Verdict.APPROVED
    return Verdict.QUEUED if known.plan.queue and known.waits else Verdict.DENIED


def _missing(plan: PlanView, facts: Facts, policies: Sequence[StoredPolicy]) -> Iterator[tuple[str, list[str]]]:
    """For each policy that needs what was not recorded: its name, and what."""
    for policy in policies:
        if absent := list(_absent(needs_of(plan, [policy]), facts, plan)):
            yield policy.name, absent


def _absent(needs: Needs, facts: Facts, plan: PlanView) -> Iterator[str]:
    for scope in needs.usage - facts.usage.keys():
        yield f"the usage of {plan.described(scope.kind)}"
    for query in needs.actions - facts.actions.keys():
        verbs = f" ({', '.join(query.verbs)})" if query.verbs else ""
        yield f"the actions{verbs} of {plan.described(query.scope.kind)} within {query.window}"
    for window in needs.windows - facts.service.keys():
        yield f"the telemetry over {window}"
    if needs.prices and facts.priced_on is None:
        yield "the date of the prices"
