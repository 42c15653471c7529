"""How clusters are shown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import JsonValue

from functions.cli.views.printing import Cell, Style, age, moment
from shared.models.cluster import Cluster
from shared.models.sweep import Orphan
from shared.operations.lost_cluster import LossOutcome, LostWorkload
from shared.operations.orphans import full_name

HEADER = ("NAME", "STATE", "LABELS", "GPUS")
ORPHAN_HEADER = ("CLUSTER", "OBJECT", "WORKLOAD", "FOUND", "REMOVAL")
LOSS_HEADER = ("WORKLOAD", "OUTCOME", "CLUSTER", "REASON")
_STATES = {"active": Style.GOOD, "cordoned": Style.BUSY, "lost": Style.BAD}
_OUTCOMES = {LossOutcome.RESCHEDULED: Style.BUSY, LossOutcome.FAILED: Style.BAD, LossOutcome.UNREADABLE: Style.BAD}


def cells(cluster: Mapping[str, Any]) -> tuple[Cell, ...]:
    """A line of the table."""
    state = cluster["state"]
    return (cluster["name"], (state, _STATES[state]), _joined(cluster["labels"]), _joined(cluster["gpus"]))


def as_json(cluster: Cluster) -> dict[str, JsonValue]:
    """A cluster for programs; `gpus` is null when its capacity is not known."""
    gpus = None if cluster.gpus is None else dict[str, JsonValue](cluster.gpus)
    return {"name": cluster.name, "state": cluster.state.value, "labels": dict(cluster.labels), "gpus": gpus}


def orphan_cells(one: Orphan, now: datetime) -> tuple[Cell, ...]:
    """An orphan, as a line of the table."""
    removal = f"asked for by {one.requested_by}" if one.requested_by else ""
    return (one.cluster, full_name(one), one.instance, age(one.found_at, now), removal)


def orphan_as_json(one: Orphan) -> dict[str, JsonValue]:
    """The same for programs. `workload` is the id that its label names, which may be of no workload."""
    return {
        "cluster": one.cluster,
        "object": full_name(one),
        "uid": one.reference.uid,
        "workload": one.instance or None,
        "foundAt": moment(one.found_at),
        "removalRequestedBy": one.requested_by or None,
    }


def loss_cells(one: LostWorkload) -> tuple[Cell, ...]:
    """What became of a workload of a lost cluster, as a line of the table."""
    return (one.label, (one.outcome, _OUTCOMES.get(one.outcome, Style.PLAIN)), one.cluster, one.reason)


def loss_as_json(one: LostWorkload) -> dict[str, JsonValue]:
    """The same for programs; `cluster` is null for a workload that is placed nowhere."""
    return {
        "id": str(one.id),
        "workload": one.label,
        "outcome": one.outcome.value,
        "cluster": one.cluster or None,
        "reason": one.reason,
    }


def _joined(values: Mapping[str, object] | None) -> str:
    return "unknown" if values is None else ",".join(f"{name}={value}" for name, value in sorted(values.items()))
