"""`sentinel queue`: which plans wait for quota or capacity, and for what."""

from __future__ import annotations

import typer

from functions.cli.errors import complain
from functions.cli.options import PLAIN, Format, Limit, Output, client_of
from functions.cli.views import queue as views
from functions.cli.views.printing import print_data, print_table

app = typer.Typer(**PLAIN)


@app.command()
def queue(context: typer.Context, limit: Limit = 1000, output: Output = Format.TABLE) -> None:
    """Show the plans that wait for quota or capacity, first goes first.

    What fits may go past a plan that waits for something that it takes, eight times at most, and past others freely.
    """
    page = client_of(context).pages("/queue", limit)
    if output is Format.TABLE:
        print_table(views.HEADER, [views.cells(one, page.now) for one in page.items])
    else:
        print_data(page.items, output)
    if page.more:
        complain(f"only the first {limit} are shown; see the rest with --limit")
