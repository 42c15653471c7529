"""`sentinel events`: dead letters, and the way back for them.

A redrive sends the same event again, under its own id and source and with its own bytes. Consumers that handled it
answer what they answered before; those that gave up count from zero.
"""

import base64
import uuid
from collections.abc import Sequence

import typer
from pydantic import JsonValue

from functions.cli.connection import Platform, open_store
from functions.cli.errors import BadInput, CommandFailed, complain, printable
from functions.cli.operator import operator
from functions.cli.options import Format
from functions.cli.publishing import publish
from functions.cli.views.printing import age, moment, print_data, print_ids, print_table
from shared.errors import MalformedEvent
from shared.eventing import codec
from shared.eventing.event import Envelope, WireEvent
from shared.store import inbox, outbox
from shared.store.dead_letters import DeadLetter
from shared.store.unit_of_work import UnitOfWork

_HEADER = ("ID", "TYPE", "SUBJECT", "DESTINATION", "CODE", "AGE", "REASON")
_AT_ONCE = 10_000


def show_all(platform: Platform, redriven: bool, limit: int, form: Format) -> None:
    """Prints dead letters, oldest first; with `redriven` also those that were sent again."""
    with open_store(platform) as store, store.begin() as work:
        found = work.dead_letters.find(include_redriven=redriven, limit=limit + 1)
        now = work.now
    letters = found[:limit]
    if form is Format.TABLE:
        rows = [
            (
                str(one.id),
                one.type,
                one.subject or "",
                one.destination,
                "" if one.error_code is None else str(one.error_code),
                age(one.created_at, now),
                one.reason,
            )
            for one in letters
        ]
        print_table(_HEADER, rows)
    else:
        print_data([_view(one) for one in letters], form)
    if len(found) > limit:
        complain(f"only the oldest {limit} are shown; see the rest with --limit")


def show(platform: Platform, letter_id: str, form: Format) -> None:
    """Prints one dead letter with the event as it came."""
    with open_store(platform) as store, store.begin() as work:
        letter = _one(work, letter_id)
    if form is not Format.TABLE:
        print_data({**_view(letter), "event": {**letter.attributes, **_data(letter)}}, form)
        return
    told = {**_view(letter), **{f"ce-{name}": value for name, value in letter.attributes.items()}}
    print_table(("FIELD", "VALUE"), [(name, str(value)) for name, value in told.items() if value not in (None, "")])
    typer.echo("")
    for line in letter.body.decode(errors="backslashreplace").splitlines():
        typer.echo(printable(line))


def redrive(platform: Platform, letter_id: str | None, everything: bool, form: Format) -> None:
    """Sends one dead letter again, or all open ones, and prints their ids.

    Raises CommandFailed for what is malformed: it would only come back.
    """
    if (letter_id is None) is not everything:
        raise BadInput("name one dead letter by its id, or all open ones with --all")
    with open_store(platform) as store:
        with store.begin() as work:
            letters = work.dead_letters.find(limit=_AT_ONCE) if letter_id is None else [_one(work, letter_id)]
            malformed = {letter.id: reason for letter in letters if (reason := _malformed(letter))}
            good = [letter for letter in letters if letter.id not in malformed]
            events = _send_again(good, work)
        print_ids([{"id": str(one.id), "eventId": one.event_id, "source": one.source} for one in good], form)
        if events:
            publish(store, platform, events)
    if len(letters) == _AT_ONCE:
        complain(f"{_AT_ONCE} were looked at; there may be more: run it again")
    if malformed:
        raise CommandFailed("\n".join(f"{key} is malformed, and stays: {why}" for key, why in malformed.items()))


def _send_again(letters: Sequence[DeadLetter], work: UnitOfWork) -> list[WireEvent]:
    """Queues each event once, however many destinations gave up on it: the broker offers it to all of them."""
    events: dict[tuple[str, str], WireEvent] = {}
    for letter in letters:
        events[letter.source, letter.event_id] = WireEvent(letter.attributes, letter.body)
        inbox.reset_attempts(work.connection, letter.source, letter.event_id)
        assert letter.id is not None
        work.dead_letters.mark_redriven(letter.id)
        subject = letter.subject or letter.source
        detail = {"id": letter.event_id, "type": letter.type, "destination": letter.destination}
        work.audit("event.redriven", subject, operator(), **detail)
    outbox.add(work.connection, list(events.values()))
    return list(events.values())


def _envelope(letter: DeadLetter) -> Envelope:
    """The event that was given up on, as a consumer would read it. Raises MalformedEvent."""
    headers = {f"ce-{name}": value for name, value in letter.attributes.items() if name != "datacontenttype"}
    if content_type := letter.attributes.get("datacontenttype"):
        headers["content-type"] = content_type
    return codec.decode(headers, letter.body)


def _malformed(letter: DeadLetter) -> str:
    """Why no consumer will ever take this event, "" when one may. What the outbox holds can always be sent."""
    try:
        _envelope(letter)
    except MalformedEvent as error:
        return str(error)
    return ""


def _one(work: UnitOfWork, letter_id: str) -> DeadLetter:
    try:
        letter = work.dead_letters.get(uuid.UUID(letter_id))
    except ValueError:
        raise BadInput(f"{letter_id[:80]} is not the id of a dead letter: see `sentinel events list`") from None
    if letter is None:
        raise CommandFailed(f"there is no dead letter {letter_id}")
    return letter


def _view(letter: DeadLetter) -> dict[str, JsonValue]:
    return {
        "id": str(letter.id),
        "type": letter.type,
        "subject": letter.subject,
        "eventId": letter.event_id,
        "source": letter.source,
        "destination": letter.destination,
        "code": letter.error_code,
        "reason": letter.reason,
        "deliveries": letter.deliveries,
        "createdAt": moment(letter.created_at),
        "redrivenAt": moment(letter.redriven_at),
    }


def _data(letter: DeadLetter) -> dict[str, JsonValue]:
    """The data member of the structured format: JSON where it is JSON, base64 otherwise."""
    try:
        data = _envelope(letter).data
    except MalformedEvent:
        data = None
    if data is not None:
        return {"data": data}
    return {"data_base64": base64.b64encode(letter.body).decode()} if letter.body else {}
