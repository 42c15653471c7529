"""How the timeline of a workload is shown, from the JSON of the REST face."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from functions.cli.views.printing import Cell, Style
from functions.cli.views.workloads import full_name

HEADER = ("TIME", "WHAT", "DETAIL")
_BAD = ("rejected", "denied", "failed", "unhealthy", "dead_lettered", "refused")
_GOOD = ("approved", "healthy", "rolledback", "removed")


def title(workload_id: str, workload: Mapping[str, Any] | None) -> str:
    """Which workload it is, and its phase. workload: None when it was never taken in."""
    if workload is None:
        return f"{workload_id}  never taken in"
    return f"{workload_id}  {full_name(workload)}  {workload['phase']}"


def cells(entry: Mapping[str, Any]) -> tuple[Cell, ...]:
    """A line of the table."""
    return (entry["at"], (entry["what"], _style(entry["what"])), _sentence(entry["detail"]))


def _style(what: str) -> Style:
    outcome = what.rpartition(".")[2]
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
