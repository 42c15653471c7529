"""How the queue is shown."""

from __future__ import annotations

from datetime import datetime

from pydantic import JsonValue

from functions.cli.views.printing import Cell, age, moment
from shared.operations.workloads import QueuedPlan

HEADER = ("POSITION", "WORKLOAD", "TEAM", "PRIORITY", "CLUSTER", "WAITS FOR", "SINCE", "OVERTAKEN", "WHY")


def cells(queued: QueuedPlan, now: datetime) -> tuple[Cell, ...]:
    """A line of the table."""
    plan, spec = queued.plan, queued.workload.spec
    return (
        str(queued.position),
        spec.full_name,
        spec.team,
        str(plan.priority),
        plan.decision.cluster,
        ", ".join(plan.waits_for),
        age(plan.queued_at, now),
        str(plan.overtaken),
        plan.reason,
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
