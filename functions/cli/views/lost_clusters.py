"""How orphans, and what became of the workloads of a lost cluster, are shown."""

from __future__ import annotations

from datetime import datetime

from pydantic import JsonValue

from functions.cli.views.printing import Cell, Style, age, moment
from shared.models.sweep import Orphan
from shared.operations.lost_cluster import LossOutcome, LostWorkload
from shared.operations.orphans import full_name

ORPHAN_HEADER = ("CLUSTER", "OBJECT", "WORKLOAD", "FOUND", "REMOVAL")
LOSS_HEADER = ("WORKLOAD", "OUTCOME", "CLUSTER", "REASON")
_OUTCOMES = {LossOutcome.RESCHEDULED: Style.BUSY, LossOutcome.FAILED: Style.BAD, LossOutcome.UNREADABLE: Style.BAD}


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
