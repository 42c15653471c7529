"""`sentinel policy backtest`: what candidate policies would have decided on the plans of the past."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from functions.cli.errors import CommandFailed, Interrupted, ProblemAnswer, complain
from functions.cli.options import Format, seconds
from functions.cli.policy_files import read_policies
from functions.cli.views import backtest as views
from functions.cli.views.printing import print_data

if TYPE_CHECKING:
    from functions.cli.client import Client

_POLL_SECONDS = (0.02, 0.5)
"""Between the first two looks at it, and at most; each pause is twice the one before."""


def backtest(client: Client, file: Sequence[str], since: str, only: bool, limit: int, output: Format) -> None:
    """Prints the report, also of a replay that was interrupted. Raises BadInput, CommandFailed and Interrupted."""
    seconds("--since", since)
    policies = [one.model_dump(mode="json", by_alias=True, exclude_none=True) for one in read_policies(file)]
    asked = {"policies": policies, "since": since, "only": only, "limit": limit}
    path = None
    try:
        path = client.send("POST", "/policies/backtest", asked).headers["location"].removeprefix("/api/v1")
        found = _finished(client, path)
    except KeyboardInterrupt:
        client.close()  # an answer may be under way
        found = None if path is None else _cancelled(client, path)
    if found is not None and found["state"] == "failed":
        raise CommandFailed(f"the backtest failed: {found['problem']}")
    if found is None or found["report"] is None:
        raise Interrupted("stopped before anything was replayed")
    report, interrupted = found["report"], found["state"] == "cancelled"
    if output is Format.TABLE:
        views.print_report(report)
    else:
        print_data({**report, "interrupted": interrupted}, output)
    if (more := views.differences(report) - len(report["changes"])) > 0:
        complain(f"{more} more are counted and not listed; see them with --limit")
    if report["unreadable"]:
        complain(f"{report['unreadable']} decisions were recorded by another version and cannot be replayed")
    if interrupted:
        raise Interrupted(f"stopped after {report['replayed']} of {report['decisions']} decisions")


def _finished(client: Client, path: str) -> Any:
    """The backtest once it is over."""
    pause, longest = _POLL_SECONDS
    with _progress() as show:
        while (found := client.get(path).document)["state"] == "running":
            if found["report"] is not None:
                show(found["report"])
            time.sleep(pause)
            pause = min(2 * pause, longest)
    return found


def _cancelled(client: Client, path: str) -> Any:
    """The backtest with what was found, when nobody waits for the rest. One that is over already is as it is."""
    try:
        return client.send("POST", f"{path}/cancel").document
    except ProblemAnswer as problem:
        if problem.status != 409:
            raise
        return client.get(path).document


@contextmanager
def _progress() -> Iterator[Callable[[Any], None]]:
    """Gives what shows how far a replay is: a progress bar where somebody watches."""
    if not sys.stderr.isatty():
        yield lambda report: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("replaying", total=None)
        yield lambda report: progress.update(task, completed=report["replayed"], total=report["decisions"])
