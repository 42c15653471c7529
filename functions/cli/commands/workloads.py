"""`sentinel get`: workloads with their phase."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import JsonValue

from functions.cli.connection import PlatformReference, open_store
from functions.cli.errors import complain
from functions.cli.options import PLAIN, Format, Limit, Namespace, Output, Team, platform_of
from functions.cli.references import naming_hint
from functions.cli.views import workloads as views
from functions.cli.views.printing import print_data, print_table
from shared.models.lifecycle import Phase
from shared.models.page import PageRequest
from shared.models.stored import WorkloadFilter
from shared.operations import workloads as operations
from shared.operations.workloads import WorkloadReference

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
    platform = platform_of(context)
    if name is None:
        _list(platform, WorkloadFilter(team=team, namespace=namespace, phase=phase), limit, output)
    else:
        _describe(platform, WorkloadReference(name, team, namespace), output)


def _list(platform: PlatformReference, wanted: WorkloadFilter, limit: int, output: Format) -> None:
    with open_store(platform) as store, store.begin() as work:
        page = operations.list_workloads(work, wanted, PageRequest(limit, "name"))
        now = work.now
    if output is Format.TABLE:
        print_table(views.HEADER, [views.cells(workload, now) for workload in page.items])
    else:
        print_data([workload.as_json() for workload in page.items], output)
    if page.next is not None:
        complain(f"only the first {limit} are shown; see the rest with --limit, or narrow with --team or --phase")


def _describe(platform: PlatformReference, reference: WorkloadReference, output: Format) -> None:
    with open_store(platform) as store, store.read() as work:
        with naming_hint():
            workload = operations.get(work, reference)
        suggestions = operations.alternatives(work, workload)
        now = work.now
    if output is not Format.TABLE:
        more: dict[str, JsonValue] = (
            {} if suggestions is None else {"wouldPass": [views.suggestion_as_json(one) for one in suggestions]}
        )
        print_data(workload.as_json(spec=True) | more, output)
        return
    cells = (str(workload.id), *views.cells(workload, now), workload.reason)
    print_table(("ID", *views.HEADER, "REASON"), [cells])
    if suggestions is not None:
        typer.echo("")
        lines = [one.message for one in suggestions] or [views.NO_SUGGESTION]
        print_table(("WOULD PASS ON TODAY'S FACTS",), [(line,) for line in lines])
