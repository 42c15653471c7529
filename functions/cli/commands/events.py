"""`sentinel events`: dead letters, and how to redrive them."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Sequence
from typing import Annotated

import typer
from pydantic import JsonValue

from functions.cli.connection import open_store
from functions.cli.errors import BadInput, CommandFailed, complain, printable
from functions.cli.operator import operator
from functions.cli.options import PLAIN, Format, Limit, Output, platform_of
from functions.cli.publishing import publish
from functions.cli.views import events as views
from functions.cli.views.printing import print_data, print_ids, print_table
from shared.errors import MalformedEvent
from shared.eventing import codec
from shared.eventing.event import Envelope, WireEvent
from shared.models.dead_letter import DeadLetter
from shared.operations import dead_letters as operations

app = typer.Typer(help="Dead letters: events that a broker gave up on.", **PLAIN)


@app.command("list")
def list_letters(
    context: typer.Context,
    redriven: Annotated[bool, typer.Option("--redriven", help="Also those that were sent again.")] = False,
    limit: Limit = 1000,
    output: Output = Format.TABLE,
) -> None:
    """List dead letters, oldest first."""
    with open_store(platform_of(context)) as store, store.begin() as work:
        page = operations.list_letters(work, limit, include_redriven=redriven)
        now = work.now
    if output is Format.TABLE:
        print_table(views.HEADER, [views.cells(views.as_json(letter), now) for letter in page.letters])
    else:
        print_data([views.as_json(letter) for letter in page.letters], output)
    if page.more:
        complain(f"only the oldest {limit} are shown; see the rest with --limit")


@app.command()
def show(
    context: typer.Context,
    letter: Annotated[str, typer.Argument(metavar="ID", help="A dead letter's id.")],
    output: Output = Format.TABLE,
) -> None:
    """Show one dead letter with its attributes and its data as they came."""
    with open_store(platform_of(context)) as store, store.begin() as work:
        found = operations.get(work, _id(letter))
    if output is not Format.TABLE:
        print_data({**views.as_json(found), "event": {**found.attributes, **_data(found)}}, output)
        return
    print_table(views.DETAIL_HEADER, views.detail_cells(views.as_json(found), found.attributes))
    typer.echo("")
    for line in found.body.decode(errors="backslashreplace").splitlines():
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
    platform = platform_of(context)
    with open_store(platform) as store:
        with store.begin() as work:
            letter_id = None if letter is None else _id(letter)
            redriven = operations.redrive(work, letter_id, _envelope, operator())
            events = _events(redriven.letters)
            work.add_to_outbox(events)
        print_ids([views.redriven_as_json(one) for one in redriven.letters], output)
        publish(store, platform, events)
    if redriven.more:
        complain(f"{operations.REDRIVE_LIMIT} were taken; there may be more: run it again")
    if redriven.malformed:
        reasons = [f"{one.id} is malformed, and stays: {why}" for one, why in redriven.malformed]
        raise CommandFailed("\n".join(reasons))


def _events(letters: Sequence[DeadLetter]) -> list[WireEvent]:
    """Each event once, however many destinations gave up on it: the broker offers it to all of them."""
    events = {(one.source, one.event_id): WireEvent(one.attributes, one.body) for one in letters}
    return list(events.values())


def _envelope(letter: DeadLetter) -> Envelope:
    """The event that was given up on, as a consumer would read it. Raises MalformedEvent."""
    return codec.envelope(letter.attributes, letter.body)


def _id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise BadInput(f"{text[:80]} is not the id of a dead letter: see `sentinel events list`") from None


def _data(letter: DeadLetter) -> dict[str, JsonValue]:
    """The data member of the structured format: JSON where it is JSON, base64 otherwise."""
    try:
        data = _envelope(letter).data
    except MalformedEvent:
        data = None
    if data is not None:
        return {"data": data}
    return {"data_base64": base64.b64encode(letter.body).decode()} if letter.body else {}
