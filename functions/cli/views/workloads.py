"""How workloads, and suggestions for those that are denied, are shown."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import JsonValue

from functions.cli.views.printing import Cell, Style, age, moment
from shared.models.lifecycle import GOOD_PHASES, Phase
from shared.models.stored import Workload

if TYPE_CHECKING:
    from shared.policy.explain import Suggestion

HEADER = (
    *("NAME", "TEAM", "NAMESPACE", "TYPE", "PHASE", "GENERATION", "REVISION"),
    *("REPLICAS", "GPUS", "USD/H", "CLUSTER", "AGE"),
)
NO_SUGGESTION = "nothing that was tried: neither less, nor elsewhere, nor later"
_BAD = (Phase.DENIED, Phase.DEGRADED, Phase.UNHEALTHY, Phase.ROLLED_BACK, Phase.FAILED)
_QUIET = (Phase.REMOVED,)


def cells(workload: Workload, now: datetime) -> tuple[Cell, ...]:
    """A line of the table."""
    spec = workload.spec
    return (
        spec.name,
        spec.team,
        spec.namespace,
        spec.type,
        (workload.phase, phase_style(workload.phase)),
        str(workload.generation),
        str(workload.revision),
        str(spec.replicas),
        str(spec.most_replicas * spec.resources.gpu.count),
        f"{workload.usd_per_replica_hour * spec.most_replicas:.2f}",
        workload.cluster,
        age(workload.created_at, now),
    )


def phase_style(phase: Phase) -> Style:
    """Green for what runs as asked for, red for what does not, yellow for what is on its way."""
    if phase in GOOD_PHASES:
        return Style.GOOD
    if phase in _BAD:
        return Style.BAD
    return Style.PLAIN if phase in _QUIET else Style.BUSY


def suggestion_as_json(suggestion: Suggestion) -> dict[str, JsonValue]:
    """A suggestion for programs; a change that it does not make is null."""
    change = suggestion.change
    return {
        "message": suggestion.message,
        "replicas": change.replicas,
        "sku": change.sku,
        "cluster": change.cluster,
        "at": moment(change.at),
    }
