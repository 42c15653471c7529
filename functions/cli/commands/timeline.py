"""`sentinel trace`: what happened to one workload, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer
from pydantic import JsonValue

from functions.cli.connection import open_store
from functions.cli.errors import CommandFailed
from functions.cli.options import PLAIN, Format, Name, Namespace, Output, Team, platform_of
from functions.cli.references import naming_hint
from functions.cli.views.printing import Style, moment, print_data, print_table
from shared.errors import NotFound
from shared.models.workload import workload_id
from shared.operations import workloads
from shared.operations.workloads import WorkloadReference
from shared.store.history import Moment, timeline
from shared.store.unit_of_work import UnitOfWork

app = typer.Typer(**PLAIN)

_BAD = ("rejected", "denied", "failed", "unhealthy", "dead_lettered", "refused")
_GOOD = ("approved", "healthy", "rolledback", "removed")


@app.command()
def trace(
    context: typer.Context, name: Name, team: Team = None, namespace: Namespace = None, output: Output = Format.TABLE
) -> None:
    """Show what happened to a workload, oldest first, also to one that was never taken in."""
    with open_store(platform_of(context)) as store, store.begin() as work:
        title, moments = _look_up(work, WorkloadReference(name, team, namespace))
    if output is not Format.TABLE:
        print_data([_view(one) for one in moments], output)
        return
    typer.echo(title)
    rows = [(moment(one.at) or "", (one.what, _style(one)), _sentence(one.detail)) for one in moments]
    print_table(("TIME", "WHAT", "DETAIL"), rows)


def _look_up(work: UnitOfWork, reference: WorkloadReference) -> tuple[str, list[Moment]]:
    rejected = reference.id or workload_id(
        reference.team or "default", reference.namespace or "default", reference.text
    )
    try:
        with naming_hint():
            workload = workloads.get(work, reference)
    except (CommandFailed, NotFound):
        moments = timeline(work.connection, rejected)
        if not moments:
            raise
        return f"{rejected}  never taken in", moments
    return f"{workload.id}  {workload.spec.full_name}  {workload.phase}", timeline(work.connection, workload.id)


def _style(one: Moment) -> Style:
    outcome = one.what.rpartition(".")[2]
    return Style.BAD if outcome in _BAD else Style.GOOD if outcome in _GOOD else Style.PLAIN


def _sentence(detail: Mapping[str, Any]) -> str:
    """The particulars that say something, in words."""
    told = ((name, _words(value)) for name, value in detail.items())
    return "  ".join(f"{name}={words}" for name, words in told if words)


def _words(value: Any) -> str:
    match value:
        case None:
            return ""
        case {"message": str(message)}:
            return message
        case list():
            return "; ".join(map(_words, value))
        case dict():
            return ",".join(f"{name}={_words(one)}" for name, one in value.items())
        case _:
            return str(value)


def _view(one: Moment) -> dict[str, JsonValue]:
    return {"at": moment(one.at), "what": one.what, "detail": dict(one.detail)}
