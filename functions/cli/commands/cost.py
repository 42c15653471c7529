"""`sentinel cost`: what teams, workloads, SKUs or clusters have cost."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from functions.cli.errors import complain
from functions.cli.options import PLAIN, Format, client_of
from functions.cli.views import cost as views
from functions.cli.views.printing import print_data, print_table

app = typer.Typer(**PLAIN)


class By(StrEnum):
    """What costs are added up by."""

    TEAM = "team"
    WORKLOAD = "workload"
    SKU = "sku"
    CLUSTER = "cluster"


class CostFormat(StrEnum):
    """How costs are printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


@app.command()
def cost(
    context: typer.Context,
    by: Annotated[By, typer.Option(help="What costs are added up by.")] = By.TEAM,
    since: Annotated[
        str | None, typer.Option(metavar="DURATION|DAY", help="30d, or 2026-11-01.  [default: this month]")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many, the dearest first.")] = 1000,
    output: Annotated[CostFormat, typer.Option("-o", "--output", help="How to print it.")] = CostFormat.TABLE,
) -> None:
    """Show what teams, workloads, SKUs or clusters have cost, the dearest first.

    With the GPU hours that were allocated and used, what idle ones cost, and the forecast of the month beside its
    ceiling. From the beginning of a day, in UTC. Used and idle are known where the agents of GPU nodes report: "-"
    says that none did. CSV has the column names of FOCUS, with x_ before those that are Sentinel's own.
    """
    report = client_of(context).get("/cost", by=by.value, since=since, limit=limit).document
    match output:
        case CostFormat.TABLE:
            print_table(views.header(by.value), [views.cells(line) for line in [*report["items"], report["total"]]])
        case CostFormat.CSV:
            typer.echo(views.focus(report), nl=False)
        case _:
            print_data(report, Format(output.value))
    if report["groups"] > len(report["items"]):
        complain(f"only the dearest {limit} of {report['groups']} are shown; the total counts all of them")
