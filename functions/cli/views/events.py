"""How dead letters are shown, from the JSON of the REST face."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from functions.cli.views.printing import Cell, age

if TYPE_CHECKING:
    from pydantic import JsonValue

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


def redriven_as_json(letter: Mapping[str, Any]) -> dict[str, JsonValue]:
    """What a redrive says of an event."""
    return {name: letter[name] for name in ("id", "eventId", "source")}
