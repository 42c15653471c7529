"""`sentinel queue`: which plans wait for quota or capacity, and for what."""

from __future__ import annotations

import typer

from functions.cli.connection import open_store
from functions.cli.errors import complain
from functions.cli.options import PLAIN, Format, Limit, Output, platform_of
from functions.cli.views import queue as views
from functions.cli.views.printing import print_data, print_table
from shared.operations import workloads as operations

app = typer.Typer(**PLAIN)


@app.command()
def queue(context: typer.Context, limit: Limit = 1000, output: Output = Format.TABLE) -> None:
    """Show the plans that wait for quota or capacity, first goes first.

    What fits may go past a plan that waits for something that it takes, eight times at most, and past others freely.
    """
    with open_store(platform_of(context)) as store, store.read() as work:
        page = operations.list_queue(work, limit)
        now = work.now
    if output is Format.TABLE:
        print_table(views.HEADER, [views.cells(views.as_json(one), now) for one in page.plans])
    else:
        print_data([views.as_json(one) for one in page.plans], output)
    if page.more:
        complain(f"only the first {limit} are shown; see the rest with --limit")
