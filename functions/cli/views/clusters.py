"""How clusters are shown, from the JSON of the REST face."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from functions.cli.views.printing import Cell, Style

HEADER = ("NAME", "STATE", "LABELS", "GPUS")
_STATES = {"active": Style.GOOD, "cordoned": Style.BUSY, "lost": Style.BAD}


def cells(cluster: Mapping[str, Any]) -> tuple[Cell, ...]:
    """A line of the table."""
    state = cluster["state"]
    return (cluster["name"], (state, _STATES[state]), _joined(cluster["labels"]), _joined(cluster["gpus"]))


def _joined(values: Mapping[str, object] | None) -> str:
    return "unknown" if values is None else ",".join(f"{name}={value}" for name, value in sorted(values.items()))
