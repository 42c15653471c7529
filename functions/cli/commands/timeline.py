"""`sentinel trace`: what happened to one workload, in the order in which it happened."""

from __future__ import annotations

from typing import Any

import typer

from functions.cli.client import Client
from functions.cli.errors import ProblemAnswer
from functions.cli.options import PLAIN, Format, Name, Namespace, Output, Team, client_of
from functions.cli.references import Reference, WorkloadAbsent, resolve
from functions.cli.views import timeline as views
from functions.cli.views.printing import print_data, print_table

app = typer.Typer(**PLAIN)

_MOST = 1_000_000


@app.command()
def trace(
    context: typer.Context, name: Name, team: Team = None, namespace: Namespace = None, output: Output = Format.TABLE
) -> None:
    """Show what happened to a workload, oldest first, also to one that was never taken in."""
    client = client_of(context)
    workload_id, entries = _entries(client, Reference(name, team, namespace))
    if output is not Format.TABLE:
        print_data(entries, output)
        return
    typer.echo(views.title(workload_id, _workload(client, workload_id)))
    print_table(views.HEADER, [views.cells(entry) for entry in entries])


def _entries(client: Client, reference: Reference) -> tuple[str, list[Any]]:
    """The id that is meant, and what is on record about it; one that was never taken in is in no list."""
    try:
        workload_id = resolve(client, reference)
    except WorkloadAbsent as absent:
        from shared.models.workload import workload_id as id_of

        rejected = str(id_of(reference.team or "default", reference.namespace or "default", reference.text))
        try:
            return rejected, _timeline(client, rejected)
        except ProblemAnswer:
            raise absent from None
    return workload_id, _timeline(client, workload_id)


def _timeline(client: Client, workload_id: str) -> list[Any]:
    return client.pages(f"/workloads/{workload_id}/timeline", _MOST).items


def _workload(client: Client, workload_id: str) -> Any:
    """The workload; None for one that was never taken in."""
    try:
        return client.get(f"/workloads/{workload_id}").document
    except ProblemAnswer as problem:
        if problem.status != 404:
            raise
        return None
