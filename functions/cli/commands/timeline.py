"""`sentinel trace`: what happened to one workload, in the order in which it happened."""

from collections.abc import Mapping
from typing import Any

import typer
from pydantic import JsonValue

from functions.cli.commands.workloads import Reference, find_one, label
from functions.cli.connection import Platform, open_store
from functions.cli.errors import CommandFailed
from functions.cli.options import Format
from functions.cli.views.printing import Style, moment, print_data, print_table
from shared.models.workload import workload_id
from shared.store.history import Moment, timeline
from shared.store.unit_of_work import UnitOfWork

_BAD = ("rejected", "denied", "failed", "unhealthy", "dead_lettered", "refused")
_GOOD = ("approved", "healthy", "rolledback", "removed")


def trace(platform: Platform, reference: Reference, form: Format) -> None:
    """Prints the timeline of a workload, also of one that was never taken in. Raises CommandFailed for an unknown."""
    with open_store(platform) as store, store.begin() as work:
        title, moments = _look_up(work, reference)
    if form is not Format.TABLE:
        print_data([_view(one) for one in moments], form)
        return
    typer.echo(title)
    rows = [(moment(one.at) or "", (one.what, _style(one)), _sentence(one.detail)) for one in moments]
    print_table(("TIME", "WHAT", "DETAIL"), rows)


def _look_up(work: UnitOfWork, reference: Reference) -> tuple[str, list[Moment]]:
    rejected = reference.id or workload_id(
        reference.team or "default", reference.namespace or "default", reference.text
    )
    try:
        workload = find_one(work, reference)
    except CommandFailed:
        moments = timeline(work.connection, rejected)
        if not moments:
            raise
        return f"{rejected}  never taken in", moments
    return f"{workload.id}  {label(workload)}  {workload.phase}", timeline(work.connection, workload.id)


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
