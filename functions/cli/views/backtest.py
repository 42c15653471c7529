"""How the report of a backtest is shown, from the JSON of the REST face."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from functions.cli.views.printing import Cell, Style, print_table

_HEADER = ("WHEN", "TEAM", "WORKLOAD", "CLUSTER", "VERB", "WAS", "WOULD BE", "CAUSE", "WHY")
_STYLES = {
    "approved": Style.GOOD,
    "denied": Style.BAD,
    "queued": Style.BUSY,
    "awaiting_approval": Style.BUSY,
}
_WORDS = {
    "newlyDenied": "newly denied",
    "newlyAllowed": "newly allowed",
    "newlyQueued": "newly queued",
    "newlyAwaitingApproval": "newly awaiting approval",
    "notKnown": "not known",
}


def differences(report: Mapping[str, Any]) -> int:
    """How many decisions would have been different, or are not known."""
    return sum(report[name] for name in _WORDS)


def print_report(report: Mapping[str, Any]) -> None:
    """A summary, the teams, and the differences that are listed."""
    counts = [f"{report[name]} {words}" for name, words in _WORDS.items()]
    title = f"{report['replayed']} decisions since {report['since']}: {', '.join(counts)}"
    typer.echo(f"{title}, {report['unchanged']} unchanged")
    if not report["changes"]:
        return
    typer.echo("")
    rows = [(team["team"], *(str(team[name]) for name in _WORDS)) for team in report["teams"]]
    print_table(("TEAM", *(words.upper() for words in _WORDS.values())), rows)
    typer.echo("")
    print_table(_HEADER, [_cells(one) for one in report["changes"]])


def _cells(change: Mapping[str, Any]) -> tuple[Cell, ...]:
    missing = [f"{what} was not recorded" for what in change["missing"]]
    team, would_be = change["team"], change["wouldBe"]
    return (
        change["at"],
        team,
        change["workload"].removeprefix(f"{team}/"),
        change["cluster"],
        change["verb"],
        change["was"],
        (would_be, _STYLES.get(would_be, Style.PLAIN)),
        change["cause"],
        "; ".join([*(f"{one['policy']}: {one['message']}" for one in change["violations"]), *missing]),
    )
