"""`sentinel policy backtest`: what candidate policies would have decided on the plans of the past."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated

import typer

from functions.cli.connection import open_store
from functions.cli.errors import Interrupted, complain
from functions.cli.options import Files, Format, Limit, Output, platform_of, seconds
from functions.cli.policy_files import read_policies
from functions.cli.views import backtest as views
from functions.cli.views.printing import print_data
from shared.operations import backtest as operations
from shared.operations.backtest import BacktestCommand, BacktestReport


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
    reach = timedelta(seconds=seconds("--since", since))
    platform = platform_of(context)
    command = BacktestCommand(read_policies(file), reach, only, limit)
    report: BacktestReport | None = None
    interrupted = False
    with open_store(platform) as store:
        try:
            with store.read() as work:
                report = operations.begin(work, command)
                for _ in _with_progress(operations.replay(work, command, report), report.total):
                    pass
        except KeyboardInterrupt:
            interrupted = True
    if report is None:
        raise Interrupted("stopped before anything was replayed")
    if output is Format.TABLE:
        views.print_report(report)
    else:
        print_data(views.as_json(report, interrupted), output)
    if (more := report.outcomes.total() - len(report.listed)) > 0:
        complain(f"{more} more are counted and not listed; see them with --limit")
    if report.unreadable:
        complain(f"{report.unreadable} decisions were recorded by another version and cannot be replayed")
    if interrupted:
        raise Interrupted(f"stopped after {report.replayed} of {report.total} decisions")


def _with_progress(steps: Iterator[None], total: int) -> Iterator[None]:
    """The same steps, with a progress bar where somebody watches."""
    if not sys.stderr.isatty():
        yield from steps
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(steps, total=total)
