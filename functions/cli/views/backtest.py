"""How the report of a backtest is shown."""

from __future__ import annotations

import typer
from pydantic import JsonValue

from functions.cli.views.printing import Cell, Style, moment, print_table
from shared.operations.backtest import BacktestReport
from shared.policy.backtest import BacktestOutcome, DecisionDifference

_HEADER = ("WHEN", "TEAM", "WORKLOAD", "CLUSTER", "VERB", "WAS", "WOULD BE", "CAUSE", "WHY")
_STYLES = {
    BacktestOutcome.APPROVED: Style.GOOD,
    BacktestOutcome.DENIED: Style.BAD,
    BacktestOutcome.QUEUED: Style.BUSY,
    BacktestOutcome.AWAITING_APPROVAL: Style.BUSY,
}
_WORDS = {
    BacktestOutcome.DENIED: "newly denied",
    BacktestOutcome.APPROVED: "newly allowed",
    BacktestOutcome.QUEUED: "newly queued",
    BacktestOutcome.AWAITING_APPROVAL: "newly awaiting approval",
    BacktestOutcome.UNKNOWN: "not known",
}


def print_report(report: BacktestReport) -> None:
    """A summary, the teams, and the differences that are listed."""
    counts = [f"{report.outcomes[outcome]} {words}" for outcome, words in _WORDS.items()]
    title = f"{report.replayed} decisions since {moment(report.since)}: {', '.join(counts)}"
    typer.echo(f"{title}, {report.unchanged} unchanged")
    if not report.listed:
        return
    typer.echo("")
    rows = [(team, *(str(counts[v]) for v in _WORDS)) for team, counts in sorted(report.teams.items())]
    print_table(("TEAM", *(words.upper() for words in _WORDS.values())), rows)
    typer.echo("")
    print_table(_HEADER, [_cells(one) for one in report.listed])


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


def as_json(report: BacktestReport, interrupted: bool) -> dict[str, JsonValue]:
    """The report for programs, as the server gives it; interrupted: whether it is of a part only."""
    return {**report.as_json(), "interrupted": interrupted}
