"""`sentinel get`: workloads with their phase."""

from __future__ import annotations

from typing import Annotated

import typer

from functions.cli.client import Client
from functions.cli.errors import complain
from functions.cli.options import PLAIN, Format, Limit, Namespace, Output, Team, client_of
from functions.cli.references import Reference, resolve
from functions.cli.views import workloads as views
from functions.cli.views.printing import print_data, print_table
from shared.models.lifecycle import Phase

app = typer.Typer(**PLAIN)


@app.command()
def get(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME|ID]", help="Only this one, in detail.")] = None,
    team: Team = None,
    namespace: Namespace = None,
    phase: Annotated[Phase | None, typer.Option(help="Only in this phase.")] = None,
    limit: Limit = 1000,
    output: Output = Format.TABLE,
) -> None:
    """Show workloads with their phase.

    One that policy denied is shown with what would pass instead, on the facts of today: the facts of its decision say
    nothing of other clusters and GPUs.
    """
    client = client_of(context)
    if name is not None:
        _describe(client, Reference(name, team, namespace), output)
        return
    page = client.pages("/workloads", limit, team=team, namespace=namespace, phase=phase)
    if output is Format.TABLE:
        print_table(views.HEADER, [views.cells(workload, page.now) for workload in page.items])
    else:
        print_data(page.items, output)
    if page.more:
        complain(f"only the first {limit} are shown; see the rest with --limit, or narrow with --team or --phase")


def _describe(client: Client, reference: Reference, output: Format) -> None:
    answer = client.get(f"/workloads/{resolve(client, reference)}")
    workload = answer.document
    would_pass = None
    if workload["phase"] == Phase.DENIED:
        would_pass = client.get(f"/workloads/{workload['id']}/explain").document["wouldPass"]
    if output is not Format.TABLE:
        print_data(workload if would_pass is None else {**workload, "wouldPass": would_pass}, output)
        return
    cells = (workload["id"], *views.cells(workload, answer.now), workload["reason"])
    print_table(("ID", *views.HEADER, "REASON"), [cells])
    if would_pass is not None:
        typer.echo("")
        lines = [one["message"] for one in would_pass] or [views.NO_SUGGESTION]
        print_table(("WOULD PASS ON TODAY'S FACTS",), [(line,) for line in lines])
