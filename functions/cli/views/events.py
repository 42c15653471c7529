"""How dead letters are shown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import JsonValue

from functions.cli.views.printing import Cell, age, moment
from shared.models.dead_letter import DeadLetter

HEADER = ("ID", "TYPE", "SUBJECT", "DESTINATION", "CODE", "AGE", "REASON")
DETAIL_HEADER = ("FIELD", "VALUE")


def cells(letter: Mapping[str, Any], now: datetime) -> tuple[Cell, ...]:
    """A line of the table."""
    return (
        letter["id"],
        letter["type"],
        letter["subject"] or "",
        letter["destination"],
        "" if letter["code"] is None else str(letter["code"]),
        age(letter["createdAt"], now),
        letter["reason"],
    )


def detail_cells(letter: Mapping[str, Any], attributes: Mapping[str, str]) -> list[tuple[Cell, ...]]:
    """A line for each field and attribute that says something."""
    fields = {**letter, **{f"ce-{name}": value for name, value in attributes.items()}}
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
