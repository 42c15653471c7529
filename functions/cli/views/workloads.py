"""How workloads are shown, from the JSON of the REST face."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from functions.cli.views.printing import Cell, Style, age, money
from shared.models.lifecycle import GOOD_PHASES, Phase

HEADER = (
    *("NAME", "TEAM", "NAMESPACE", "TYPE", "PHASE", "GENERATION", "REVISION"),
    *("REPLICAS", "GPUS", "USD/H", "CLUSTER", "AGE"),
)
NO_SUGGESTION = "nothing that was tried: neither less, nor elsewhere, nor later"
_BAD = (Phase.DENIED, Phase.DEGRADED, Phase.UNHEALTHY, Phase.ROLLED_BACK, Phase.FAILED)
_QUIET = (Phase.REMOVED,)


def cells(workload: Mapping[str, Any], now: datetime) -> tuple[Cell, ...]:
    """A line of the table."""
    return (
        workload["name"],
        workload["team"],
        workload["namespace"],
        workload["type"],
        (workload["phase"], phase_style(workload["phase"])),
        str(workload["generation"]),
        str(workload["revision"]),
        _replicas(workload["replicas"]),
        str(workload["gpus"]),
        money(workload["usdPerHour"]),
        workload["cluster"],
        age(workload["createdAt"], now),
    )


def full_name(workload: Mapping[str, Any]) -> str:
    """team/namespace/name."""
    return f"{workload['team']}/{workload['namespace']}/{workload['name']}"


def phase_style(phase: str) -> Style:
    """Green for what runs as asked for, red for what does not, yellow for what is on its way."""
    if phase in GOOD_PHASES:
        return Style.GOOD
    if phase in _BAD:
        return Style.BAD
    return Style.PLAIN if phase in _QUIET else Style.BUSY


def _replicas(replicas: int | Mapping[str, int]) -> str:
    return f"{replicas['min']}-{replicas['max']}" if isinstance(replicas, Mapping) else str(replicas)
