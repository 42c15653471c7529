"""`sentinel events`: dead letters, and how to redrive them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from functions.cli.client import Client, ObjectList
from functions.cli.errors import BadInput, CommandFailed, ProblemAnswer, complain, printable
from functions.cli.options import PLAIN, Format, Limit, Output, client_of
from functions.cli.views import events as views
from functions.cli.views.printing import print_data, print_ids, print_table

app = typer.Typer(help="Dead letters: events that a broker gave up on.", **PLAIN)

_LETTERS = "/events/dead-letters"
_AT_ONCE = 1000


@app.command("list")
def list_letters(
    context: typer.Context,
    redriven: Annotated[bool, typer.Option("--redriven", help="Also those that were sent again.")] = False,
    limit: Limit = 1000,
    output: Output = Format.TABLE,
) -> None:
    """List dead letters, oldest first."""
    page = _oldest(client_of(context), limit, redriven)
    if output is Format.TABLE:
        print_table(views.HEADER, [views.cells(letter, page.now) for letter in page.items])
    else:
        print_data(page.items, output)
    if page.more:
        complain(f"only the oldest {limit} are shown; see the rest with --limit")


@app.command()
def show(
    context: typer.Context,
    letter: Annotated[str, typer.Argument(metavar="ID", help="A dead letter's id.")],
    output: Output = Format.TABLE,
) -> None:
    """Show one dead letter with its attributes and its data."""
    found = client_of(context).get(f"{_LETTERS}/{_id(letter)}").document
    if output is not Format.TABLE:
        print_data(found, output)
        return
    event = found.pop("event")
    attributes = {name: value for name, value in event.items() if name not in ("data", "data_base64")}
    print_table(views.DETAIL_HEADER, views.detail_cells(found, attributes))
    typer.echo("")
    for line in _text(event).splitlines():
        typer.echo(printable(line))


@app.command()
def redrive(
    context: typer.Context,
    letter: Annotated[str | None, typer.Argument(metavar="[ID]", help="A dead letter's id.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that were not sent again yet.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Send the same event again, under its own id, and let consumers count their attempts from zero.

    A malformed event stays: it would only come back.
    """
    if (letter is None) is not everything:
        raise BadInput("name one dead letter by its id, or all open ones with --all")
    client = client_of(context)
    refused: list[str] = []
    sent: list[Mapping[str, Any]] = []
    try:
        for one in [_id(letter)] if letter is not None else _open(client):
            try:
                sent.append(client.send("POST", f"{_LETTERS}/{one}/redrive").document)
            except ProblemAnswer as problem:
                if problem.status != 409:
                    raise
                refused.append(f"{one} stays: {problem}")
    finally:
        print_ids([views.redriven_as_json(one) for one in sent], output)
    if refused:
        raise CommandFailed("\n".join(refused))


def _oldest(client: Client, limit: int, redriven: bool) -> ObjectList:
    """The oldest letters; with `redriven` also those that were sent again, each in its place."""
    page = client.pages(_LETTERS, limit)
    if not redriven:
        return page
    others = client.pages(_LETTERS, limit, redriven="true")
    letters = sorted([*page.items, *others.items], key=lambda one: (one["createdAt"], one["id"]))
    return ObjectList(letters[:limit], page.more or others.more or len(letters) > limit, page.now)


def _open(client: Client) -> Iterator[str]:
    page = client.pages(_LETTERS, _AT_ONCE)
    for letter in page.items:
        yield letter["id"]
    if page.more:
        complain(f"{_AT_ONCE} were taken; there are more: run it again")


def _text(event: Mapping[str, Any]) -> str:
    """The data of an event as people read it."""
    if "data_base64" in event:
        return base64.b64decode(event["data_base64"]).decode(errors="backslashreplace")
    return json.dumps(event["data"], indent=2, ensure_ascii=False) if "data" in event else ""


def _id(text: str) -> str:
    import uuid

    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise BadInput(f"{text[:80]} is not the id of a dead letter: see `sentinel events list`") from None
