"""`sentinel queue`: who waits for quota or capacity, and for what."""

from datetime import datetime

from pydantic import JsonValue

from functions.cli.commands.workloads import label
from functions.cli.connection import Platform, open_store
from functions.cli.errors import complain
from functions.cli.options import Format
from functions.cli.views.printing import Cell, age, moment, print_data, print_table
from shared.models.plan import ActionPlan
from shared.models.stored import Workload

_HEADER = ("POSITION", "WORKLOAD", "TEAM", "PRIORITY", "CLUSTER", "WAITS FOR", "SINCE", "OVERTAKEN", "WHY")
_Waiting = tuple[int, ActionPlan, Workload]


def show_all(platform: Platform, limit: int, form: Format) -> None:
    """Prints the queue in its order: first goes first, though what fits earlier may go past it."""
    with open_store(platform) as store, store.read() as work:
        plans = work.plans.queue(limit + 1)
        workloads = work.workloads.get_many([plan.workload_id for plan in plans])
        now = work.now
    waiting = [(at, plan, workloads[plan.workload_id]) for at, plan in enumerate(plans[:limit], start=1)]
    if form is Format.TABLE:
        print_table(_HEADER, [_cells(one, now) for one in waiting])
    else:
        print_data([_view(one) for one in waiting], form)
    if len(plans) > limit:
        complain(f"only the first {limit} are shown; see the rest with --limit")


def _cells(waiting: _Waiting, now: datetime) -> tuple[Cell, ...]:
    position, plan, workload = waiting
    return (
        str(position),
        label(workload),
        workload.spec.team,
        str(plan.priority),
        plan.decision.cluster,
        ", ".join(plan.waits_for),
        age(plan.queued_at, now),
        str(plan.overtaken),
        plan.reason,
    )


def _view(waiting: _Waiting) -> dict[str, JsonValue]:
    position, plan, workload = waiting
    return {
        "position": position,
        "workload": label(workload),
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
