"""`sentinel policy backtest`: what candidate policies would have decided on the plans of the past."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta

import typer

from functions.cli.connection import open_store
from functions.cli.errors import Interrupted, complain
from functions.cli.options import Format, platform_of, seconds
from functions.cli.policy_files import read_policies
from functions.cli.views import backtest as views
from functions.cli.views.printing import print_data
from shared.operations import backtest as operations
from shared.operations.backtest import BacktestCommand, BacktestReport


def backtest(context: typer.Context, file: Sequence[str], since: str, only: bool, limit: int, output: Format) -> None:
    """Prints the report, also of a replay that was interrupted. Raises BadInput, CommandFailed and Interrupted."""
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
