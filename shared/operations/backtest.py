"""What candidate policies would have decided on the plans of the past.

Candidates replace the policies of today of the same name, as if they had always been in force.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import JsonValue, ValidationError

from shared.models.moments import rfc3339
from shared.models.page import PageRequest
from shared.policy.backtest import Backtest, BacktestOutcome, DecisionDifference
from shared.policy.policy_set import PolicySet, StoredPolicy
from shared.policy.recorded import finding_to_json

if TYPE_CHECKING:
    from shared.policy.decision import DecisionRecord
    from shared.policy.documents import PolicyDocument
    from shared.store.unit_of_work import Store, UnitOfWork

PAGE = 200
"""Decisions that are read at once."""


@dataclass(frozen=True)
class BacktestCommand:
    """only: the candidates alone, without the other policies of today. limit: how many differences are listed."""

    candidates: Sequence[PolicyDocument]
    reach: timedelta
    only: bool
    limit: int


@dataclass
class BacktestReport:
    """What was replayed up to now. unreadable: decisions that another version recorded; they are not compared.

    outcomes: of the plans that would have been decided differently; teams: the same by team. missing: how often a fact
    was not recorded. listed: the first differences.
    """

    since: datetime
    total: int
    limit: int
    replayed: int = 0
    unreadable: int = 0
    outcomes: Counter[BacktestOutcome] = field(default_factory=Counter)
    teams: dict[str, Counter[BacktestOutcome]] = field(default_factory=dict)
    missing: Counter[str] = field(default_factory=Counter)
    listed: list[DecisionDifference] = field(default_factory=list)

    @property
    def unchanged(self) -> int:
        """Decisions that would have been the same."""
        return self.replayed - self.outcomes.total() - self.unreadable

    def add(self, difference: DecisionDifference) -> None:
        """Counts a difference, and lists it within the limit."""
        outcome = difference.replayed.outcome
        self.outcomes[outcome] += 1
        self.teams.setdefault(difference.plan.team, Counter())[outcome] += 1
        self.missing.update(difference.replayed.missing)
        if len(self.listed) < self.limit:
            self.listed.append(difference)

    def as_json(self) -> dict[str, JsonValue]:
        """The report for machines."""
        return {
            "since": rfc3339(self.since),
            "decisions": self.total,
            "replayed": self.replayed,
            "unchanged": self.unchanged,
            **_counts(self.outcomes),
            "unreadable": self.unreadable,
            "teams": [{"team": team, **_counts(counts)} for team, counts in sorted(self.teams.items())],
            "missing": dict[str, JsonValue](sorted(self.missing.items())),
            "changes": [_change(one) for one in self.listed],
        }


_COUNTED = {
    BacktestOutcome.DENIED: "newlyDenied",
    BacktestOutcome.APPROVED: "newlyAllowed",
    BacktestOutcome.QUEUED: "newlyQueued",
    BacktestOutcome.AWAITING_APPROVAL: "newlyAwaitingApproval",
    BacktestOutcome.UNKNOWN: "notKnown",
}


def _counts(outcomes: Counter[BacktestOutcome]) -> dict[str, JsonValue]:
    return {name: outcomes[outcome] for outcome, name in _COUNTED.items()}


def _change(one: DecisionDifference) -> dict[str, JsonValue]:
    plan = one.plan
    return {
        "at": rfc3339(one.decided_at),
        "plan": str(plan.plan_id),
        "workload": plan.full_name,
        "id": str(plan.workload_id),
        "team": plan.team,
        "cluster": plan.cluster,
        "verb": plan.verb.value,
        "was": one.recorded_outcome.value,
        "wouldBe": one.replayed.outcome.value,
        "cause": "today" if one.decided_so_today else "candidate",
        "violations": [finding_to_json(finding) for finding in one.replayed.findings],
        "missing": list(one.replayed.missing),
    }


@dataclass
class Replay:
    """A replay that is under way. until: the moment when it began."""

    test: Backtest
    until: datetime
    report: BacktestReport


def begin(work: UnitOfWork, command: BacktestCommand) -> Replay:
    """A replay against the policies of now, whose report says how many decisions there are to replay."""
    since, today = work.now - command.reach, work.policies.all()
    candidates = [_always_valid(document) for document in command.candidates]
    names = {candidate.name for candidate in candidates}
    others = [] if command.only else [policy for policy in today if policy.name not in names]
    test = Backtest(PolicySet([*others, *candidates]), PolicySet(today))
    report = BacktestReport(since, work.plans.count_decisions(since, work.now), command.limit)
    return Replay(test, work.now, report)


def replay(store: Store, under_way: Replay, page: int = PAGE) -> Iterator[None]:
    """Replays the decisions into the report, a page a step: whoever stops early keeps what was found up to then.

    A connection is taken to read a page, and given back before that is replayed: the pool is for those who wait.
    """
    report, request = under_way.report, PageRequest(page, "createdAt")
    while True:
        with store.read() as work:
            found = work.plans.decisions_between(report.since, under_way.until, request)
        for past in found.items:
            _compare(under_way.test, past, report)
        if found.next is None:
            report.total = report.replayed  # some were deleted, or committed, since they were counted
            return
        request = replace(request, after=found.next)
        yield


def _compare(test: Backtest, past: DecisionRecord, report: BacktestReport) -> None:
    try:
        difference = test.compare(past)
    except ValidationError:
        report.unreadable += 1
    else:
        if difference is not None:
            report.add(difference)
    report.replayed += 1


def _always_valid(document: PolicyDocument) -> StoredPolicy:
    """A candidate that begins tomorrow is tried on the past all the same."""
    return StoredPolicy(document.name, document.model_copy(update={"valid_from": None, "valid_until": None}))
