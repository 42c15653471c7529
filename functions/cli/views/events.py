"""How dead letters are shown."""

from __future__ import annotations

from datetime import datetime

from pydantic import JsonValue

from functions.cli.views.printing import Cell, age, moment
from shared.models.dead_letter import DeadLetter

HEADER = ("ID", "TYPE", "SUBJECT", "DESTINATION", "CODE", "AGE", "REASON")
DETAIL_HEADER = ("FIELD", "VALUE")


def cells(letter: DeadLetter, now: datetime) -> tuple[Cell, ...]:
    """A line of the table."""
    return (
        str(letter.id),
        letter.type,
        letter.subject or "",
        letter.destination,
        "" if letter.error_code is None else str(letter.error_code),
        age(letter.created_at, now),
        letter.reason,
    )


def detail_cells(letter: DeadLetter) -> list[tuple[Cell, ...]]:
    """A line for each field and attribute that says something."""
    fields = {**as_json(letter), **{f"ce-{name}": value for name, value in letter.attributes.items()}}
    return [(name, str(value)) for name, value in fields.items() if value not in (None, "")]


def as_json(letter: DeadLetter) -> dict[str, JsonValue]:
    """A dead letter for programs, without its event."""
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


def redriven_as_json(letter: DeadLetter) -> dict[str, JsonValue]:
    """What a redrive says of an event."""
    return {"id": str(letter.id), "eventId": letter.event_id, "source": letter.source}
