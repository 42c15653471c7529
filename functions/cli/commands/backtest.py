"""`sentinel policy backtest`: what candidate policies would have decided on the plans of the past."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated

import typer
from pydantic import JsonValue, ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from functions.cli.commands.simulation import finding_view
from functions.cli.connection import Platform, open_store
from functions.cli.errors import Interrupted, complain
from functions.cli.options import Files, Format, Limit, Output, platform_of, seconds
from functions.cli.policy_files import read_policies
from functions.cli.views.printing import Cell, Style, moment, print_data, print_table
from shared.policy.backtest import Backtest, BacktestOutcome, DecisionDifference
from shared.policy.decision import DecisionRecord
from shared.policy.documents import PolicyDocument
from shared.policy.policy_set import PolicySet, StoredPolicy
from shared.store.unit_of_work import UnitOfWork

_HEADER = ("WHEN", "TEAM", "WORKLOAD", "CLUSTER", "VERB", "WAS", "WOULD BE", "CAUSE", "WHY")
_STYLES = {BacktestOutcome.APPROVED: Style.GOOD, BacktestOutcome.DENIED: Style.BAD, BacktestOutcome.QUEUED: Style.BUSY}
_WORDS = {
    BacktestOutcome.DENIED: "newly denied",
    BacktestOutcome.APPROVED: "newly allowed",
    BacktestOutcome.QUEUED: "newly queued",
    BacktestOutcome.UNKNOWN: "not known",
}
_NAMES = {
    BacktestOutcome.DENIED: "newlyDenied",
    BacktestOutcome.APPROVED: "newlyAllowed",
    BacktestOutcome.QUEUED: "newlyQueued",
    BacktestOutcome.UNKNOWN: "notKnown",
}


@dataclass(frozen=True)
class How:
    """only: the candidates alone, without today's other policies. limit: how many differences are listed."""

    only: bool
    limit: int


@dataclass
class Found:
    """What has been replayed so far."""

    since: datetime
    total: int
    limit: int
    replayed: int = 0
    unreadable: int = 0
    outcomes: Counter[BacktestOutcome] = field(default_factory=Counter)
    teams: dict[str, Counter[BacktestOutcome]] = field(default_factory=dict)
    missing: Counter[str] = field(default_factory=Counter)
    listed: list[DecisionDifference] = field(default_factory=list)

    def add(self, difference: DecisionDifference) -> None:
        outcome = difference.replayed.outcome
        self.outcomes[outcome] += 1
        self.teams.setdefault(difference.plan.team, Counter())[outcome] += 1
        self.missing.update(difference.replayed.missing)
        if len(self.listed) < self.limit:
            self.listed.append(difference)


def backtest(
    context: typer.Context,
    file: Files,
    since: Annotated[str, typer.Option(metavar="DURATION", help="How far back: 12h, 30d, P30D.")] = "30d",
    only: Annotated[bool, typer.Option("--only", help="The candidates alone, without today's other policies.")] = False,
    limit: Limit = 1000,
    output: Output = Format.TABLE,
) -> None:
    """Replay recorded decisions against candidate policies, and list what would have been different.

    Candidates replace today's policies of the same name, as if they had always been in force. Each plan is evaluated on
    the facts that were recorded with its decision; what another decision would have changed for later plans is not
    carried on. Ctrl-C prints what was found up to then.
    """
    reach = seconds("--since", since)
    _backtest(platform_of(context), file, reach, How(only, limit), output)


def _backtest(platform: Platform, files: Sequence[str], seconds: float, how: How, form: Format) -> None:
    candidates = [_as_if_always(document) for document in read_policies(files)]
    found: Found | None = None
    interrupted = False
    with open_store(platform) as store:
        try:
            with store.read() as work:
                since = work.now - timedelta(seconds=seconds)
                found = Found(since, work.plans.count_decisions(since), how.limit)
                _replay(work, candidates, how, found)
        except KeyboardInterrupt:
            interrupted = True
    if found is None:
        raise Interrupted("stopped before anything was replayed")
    if form is Format.TABLE:
        _print(found)
    else:
        print_data(_view(found, interrupted), form)
    if (more := found.outcomes.total() - len(found.listed)) > 0:
        complain(f"{more} more are counted and not listed; see them with --limit")
    if found.unreadable:
        complain(f"{found.unreadable} decisions were recorded by another version and cannot be replayed")
    if interrupted:
        raise Interrupted(f"stopped after {found.replayed} of {found.total} decisions")


def _as_if_always(document: PolicyDocument) -> StoredPolicy:
    """A candidate that begins tomorrow is tried on the past all the same."""
    return StoredPolicy(document.name, document.model_copy(update={"valid_from": None, "valid_until": None}))


def _replay(work: UnitOfWork, candidates: Sequence[StoredPolicy], how: How, found: Found) -> None:
    today = work.policies.all()
    names = {candidate.name for candidate in candidates}
    others = [] if how.only else [policy for policy in today if policy.name not in names]
    test = Backtest(PolicySet([*others, *candidates]), PolicySet(today))
    for past in _shown(work.plans.decisions_since(found.since), found.total):
        try:
            difference = test.compare(past)
        except ValidationError:
            found.unreadable += 1
        else:
            if difference is not None:
                found.add(difference)
        found.replayed += 1


def _shown(decisions: Iterator[DecisionRecord], total: int) -> Iterator[DecisionRecord]:
    """The same decisions, with a progress bar where somebody watches."""
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        yield from progress.track(decisions, total=total)


def _print(found: Found) -> None:
    changed = found.outcomes.total() + found.unreadable
    counts = [f"{found.outcomes[outcome]} {words}" for outcome, words in _WORDS.items()]
    title = f"{found.replayed} decisions since {moment(found.since)}: {', '.join(counts)}"
    typer.echo(f"{title}, {found.replayed - changed} unchanged")
    if not found.listed:
        return
    typer.echo("")
    rows = [(team, *(str(counts[v]) for v in _WORDS)) for team, counts in sorted(found.teams.items())]
    print_table(("TEAM", *(words.upper() for words in _WORDS.values())), rows)
    typer.echo("")
    print_table(_HEADER, [_cells(one) for one in found.listed])


def _cells(one: DecisionDifference) -> tuple[Cell, ...]:
    would = one.replayed
    missing = [f"{what} was not recorded" for what in would.missing]
    return (
        moment(one.decided_at) or "",
        one.plan.team,
        f"{one.plan.namespace}/{one.plan.name}",
        one.plan.cluster,
        one.plan.verb,
        one.recorded_outcome,
        (would.outcome, _STYLES.get(would.outcome, Style.PLAIN)),
        _cause(one),
        "; ".join([*(f"{finding.policy}: {finding.message}" for finding in would.findings), *missing]),
    )


def _cause(one: DecisionDifference) -> str:
    """Whether the candidates make the difference, or the policies of today do already."""
    return "today" if one.decided_so_today else "candidate"


def _view(found: Found, interrupted: bool) -> dict[str, JsonValue]:
    changed = found.outcomes.total() + found.unreadable
    return {
        "since": moment(found.since),
        "decisions": found.total,
        "replayed": found.replayed,
        "interrupted": interrupted,
        "unchanged": found.replayed - changed,
        **_counts(found.outcomes),
        "unreadable": found.unreadable,
        "teams": [{"team": team, **_counts(counts)} for team, counts in sorted(found.teams.items())],
        "missing": dict(sorted(found.missing.items())),
        "changes": [_change(one) for one in found.listed],
    }


def _counts(outcomes: Counter[BacktestOutcome]) -> dict[str, JsonValue]:
    return {name: outcomes[outcome] for outcome, name in _NAMES.items()}


def _change(one: DecisionDifference) -> dict[str, JsonValue]:
    plan = one.plan
    return {
        "at": moment(one.decided_at),
        "plan": str(plan.plan_id),
        "workload": plan.full_name,
        "id": str(plan.workload_id),
        "team": plan.team,
        "cluster": plan.cluster,
        "verb": plan.verb.value,
        "was": one.recorded_outcome.value,
        "wouldBe": one.replayed.outcome.value,
        "cause": _cause(one),
        "violations": [finding_view(finding) for finding in one.replayed.findings],
        "missing": list(one.replayed.missing),
    }
