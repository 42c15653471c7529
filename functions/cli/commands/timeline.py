"""`sentinel trace`: what happened to one workload, in the order in which it happened."""

from __future__ import annotations

import typer

from functions.cli.connection import open_store
from functions.cli.options import PLAIN, Format, Name, Namespace, Output, Team, platform_of
from functions.cli.references import naming_hint
from functions.cli.views import timeline as views
from functions.cli.views.printing import print_data, print_table
from shared.operations import timeline as operations
from shared.operations.workloads import WorkloadReference

app = typer.Typer(**PLAIN)


@app.command()
def trace(
    context: typer.Context, name: Name, team: Team = None, namespace: Namespace = None, output: Output = Format.TABLE
) -> None:
    """Show what happened to a workload, oldest first, also to one that was never taken in."""
    with open_store(platform_of(context)) as store, store.begin() as work, naming_hint():
        timeline = operations.trace(work, WorkloadReference(name, team, namespace))
    if output is not Format.TABLE:
        print_data([views.as_json(entry) for entry in timeline.entries], output)
        return
    typer.echo(views.title(timeline))
    print_table(views.HEADER, [views.cells(entry) for entry in timeline.entries])
