"""How the queue is shown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import JsonValue

from functions.cli.views.printing import Cell, age, moment
from shared.operations.workloads import QueuedPlan

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


def as_json(queued: QueuedPlan) -> dict[str, JsonValue]:
    """A queued plan for programs."""
    plan, workload = queued.plan, queued.workload
    return {
        "position": queued.position,
        "workload": workload.spec.full_name,
        "id": str(workload.id),
        "team": workload.spec.team,
        "plan": str(plan.id),
        "priority": plan.priority,
        "cluster": plan.decision.cluster,
        "waitsFor": list(plan.waits_for),
        "since": moment(plan.queued_at),
        "overtaken": plan.overtaken,
        "reason": plan.reason,
    }
