"""How the queue is shown, from the JSON of the REST face."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from functions.cli.views.printing import Cell, age

HEADER = ("POSITION", "WORKLOAD", "TEAM", "PRIORITY", "CLUSTER", "WAITS FOR", "SINCE", "OVERTAKEN", "WHY")


def cells(queued: Mapping[str, Any], now: datetime) -> tuple[Cell, ...]:
    """A line of the table."""
    return (
        str(queued["position"]),
        queued["workload"],
        queued["team"],
        str(queued["priority"]),
        queued["cluster"],
        ", ".join(queued["waitsFor"]),
        age(queued["since"], now),
        str(queued["overtaken"]),
        queued["reason"],
    )
