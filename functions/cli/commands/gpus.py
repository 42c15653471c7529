"""`sentinel gpus`: GPUs that workloads have been given."""

from __future__ import annotations

from typing import Annotated

import typer

from functions.cli.errors import complain
from functions.cli.options import PLAIN, Format, Output, Team, client_of
from functions.cli.views import gpus as views
from functions.cli.views.printing import print_data, print_table

app = typer.Typer(help="GPUs that workloads have been given.", **PLAIN)


@app.callback()
def gpus() -> None:
    """GPUs that workloads have been given."""


@app.command()
def idle(
    context: typer.Context,
    team: Team = None,
    window: Annotated[str, typer.Option(metavar="DURATION", help="For how long they have been idle.")] = "6h",
    threshold: Annotated[float, typer.Option(metavar="PERCENT", help="The most that they were used.")] = 5.0,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many, the dearest first.")] = 1000,
    output: Output = Format.TABLE,
) -> None:
    """Show GPUs that are allocated and not used, as their agents report, with what that costs."""
    report = client_of(context).get("/gpus/idle", team=team, window=window, threshold=threshold, limit=limit).document
    if output is not Format.TABLE:
        print_data(report, output)
        return
    print_table(views.HEADER, [*map(views.cells, report["items"]), views.total(report)])
    if report["gpus"] > len(report["items"]):
        complain(f"only the dearest {limit} of {report['gpus']} are shown; the total counts all of them")
