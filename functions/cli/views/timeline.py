"""How the timeline of a workload is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from functions.cli.views.printing import Cell, Style, moment
from shared.operations.timeline import Timeline, TimelineEntry

HEADER = ("TIME", "WHAT", "DETAIL")
_BAD = ("rejected", "denied", "failed", "unhealthy", "dead_lettered", "refused")
_GOOD = ("approved", "healthy", "rolledback", "removed")


def title(timeline: Timeline) -> str:
    """Which workload it is, and its phase."""
    if timeline.workload is None:
        return f"{timeline.workload_id}  never taken in"
    return f"{timeline.workload_id}  {timeline.workload.spec.full_name}  {timeline.workload.phase}"


def cells(entry: TimelineEntry) -> tuple[Cell, ...]:
    """A line of the table."""
    return (moment(entry.at) or "", (entry.what, _style(entry)), _sentence(entry.detail))


def as_json(entry: TimelineEntry) -> dict[str, JsonValue]:
    """An entry for programs."""
    return {"at": moment(entry.at), "what": entry.what, "detail": dict(entry.detail)}


def _style(entry: TimelineEntry) -> Style:
    outcome = entry.what.rpartition(".")[2]
    return Style.BAD if outcome in _BAD else Style.GOOD if outcome in _GOOD else Style.PLAIN


def _sentence(detail: Mapping[str, Any]) -> str:
    """The particulars that say something, in words."""
    particulars = ((name, _words(value)) for name, value in detail.items())
    return "  ".join(f"{name}={words}" for name, words in particulars if words)


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
