"""Faults of GPUs and nodes, and what was done about each for each workload.

A fault has one row, and so has what was done about it for one workload: whatever is delivered twice, or at once, finds
it there. The faults of one cluster are counted under the lock of its row in `fleets`.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from shared.models.faults import Departure, FaultReport, OpenFault, ResponseOutcome
from shared.models.telemetry import Blame, FaultKind
from shared.store import responses
from shared.store.tables import fault_responses, fleets, gpu_faults

if TYPE_CHECKING:
    from datetime import datetime

_TEXTS = ARRAY(sa.Text)
_OF_HARDWARE = gpu_faults.c.blame != sa.literal_column(f"'{Blame.POD.value}'")


@dataclass(frozen=True)
class RaisedFault:
    """What was known of a fault that is raised. new: nobody had raised it. over: it was cleared before."""

    new: bool
    over: bool


@dataclass(frozen=True)
class FaultRows:
    """Faults and responses, inside one transaction."""

    connection: sa.Connection

    def lock_fleet(self, cluster: str) -> datetime | None:
        """Holds up every other fault of a cluster until this transaction ends.

        Returns since when its faults have had a common cause; None when they have none.
        """
        self.connection.execute(_ADD_FLEET, {"cluster": cluster})
        since: datetime | None = self.connection.execute(_LOCK_FLEET, {"cluster": cluster}).scalar_one()
        return since

    def suspect_fleet(self, cluster: str, since: datetime | None) -> None:
        """Remembers since when the faults of a cluster have a common cause; None when they have none any more."""
        values = {"suspected_at": since, "updated_at": sa.func.now()}
        self.connection.execute(fleets.update().where(fleets.c.cluster == cluster).values(**values))

    def add_raised(self, fault: FaultReport, now: datetime) -> RaisedFault:
        """Writes down that a fault begins."""
        return RaisedFault(*self.connection.execute(_RAISE, {**_columns(fault), "raised_at": now}).one())

    def add_cleared(self, fault: FaultReport, now: datetime) -> bool:
        """Writes down that a fault is over; False when that was known."""
        new: bool = self.connection.execute(_CLEAR, {**_columns(fault), "cleared_at": now}).scalar_one()
        return new

    def complaining_nodes(self, cluster: str, since: datetime) -> list[str]:
        """The nodes of a cluster on which faults of hardware were raised since then, by name."""
        return list(self.connection.execute(_COMPLAINING, {"cluster": cluster, "since": since}).scalars())

    def is_at_fault(self, cluster: str, node: str) -> bool:
        """Whether a fault of a node's hardware is not over."""
        return bool(self.connection.execute(_IS_AT_FAULT, {"cluster": cluster, "node": node}).scalar_one())

    def respond(
        self,
        fault_id: uuid.UUID,
        workload_id: uuid.UUID,
        outcome: ResponseOutcome,
        now: datetime,
        plan_id: uuid.UUID | None = None,
    ) -> None:
        """Writes down what a fault leads to for a workload, in place of what was written of both before."""
        row = {"fault_id": fault_id, "workload_id": workload_id, "outcome": outcome}
        self.connection.execute(_RESPOND, {**row, "decided_at": now, "plan_id": plan_id})

    def proposals_since(self, workload_id: uuid.UUID, since: datetime) -> int:
        """How many plans faults have led to for a workload since then. The caller has locked it."""
        return self.connection.execute(_PROPOSALS, {"workload": workload_id, "since": since}).scalar_one()

    def lock_waiting(self, before: datetime, limit: int) -> list[Departure]:
        """Workloads that have to leave a node, and were not looked at since then; longest ago first.

        Those that another transaction looks at are left out.
        """
        rows = self.connection.execute(_WAITING, {"before": before, "most": limit})
        return [
            Departure(
                row.fault_id,
                row.workload_id,
                row.cluster,
                row.node,
                FaultKind(row.kind),
                row.message,
                row.cleared_at is not None,
            )
            for row in rows
        ]


def open_faults(
    connection: sa.Connection, of: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], tuple[OpenFault, ...]]:
    """The faults of nodes, each by cluster and name, that are not over; oldest first."""
    found: dict[tuple[str, str], tuple[OpenFault, ...]] = {}
    if not of:
        return found
    values = {"clusters": [one[0] for one in of], "names": [one[1] for one in of]}
    for row in connection.execute(_OPEN, values):
        fault = OpenFault(row.id, row.gpu, FaultKind(row.kind), Blame(row.blame), row.xid, row.message, row.raised_at)
        found[row.cluster, row.node] = (*found.get((row.cluster, row.node), ()), fault)
    return found


def _columns(fault: FaultReport) -> dict[str, Any]:
    return {
        "id": fault.id,
        "cluster": fault.cluster,
        "node": fault.node,
        "gpu": fault.gpu,
        "kind": fault.kind,
        "blame": fault.blame,
        "xid": fault.xid,
        "action": fault.action,
        "message": fault.message,
        "evidence": dict(fault.evidence),
        "observed_at": fault.observed_at,
    }


# Built once: putting a statement together costs more than PostgreSQL needs to answer it.
_ADD_FLEET = insert(fleets).values(cluster=sa.bindparam("cluster")).on_conflict_do_nothing()
_LOCK_FLEET = sa.select(fleets.c.suspected_at).where(fleets.c.cluster == sa.bindparam("cluster")).with_for_update()


def _add(column: sa.Column[Any], *known: sa.ColumnElement[Any]) -> sa.Executable:
    """Adds a fault, or gives the one of its id a moment that it lacks. One row: whether that is new, and `known`."""
    given = [
        one for one in gpu_faults.columns if one.name not in ("created_at", "updated_at", "raised_at", "cleared_at")
    ]
    moment = sa.bindparam(column.name, type_=column.type)
    statement = insert(gpu_faults).values(
        **{one.name: sa.bindparam(one.name, type_=one.type) for one in given}, **{column.name: moment}
    )
    changed = {column.name: sa.func.coalesce(column, statement.excluded[column.name]), "updated_at": sa.func.now()}
    return statement.on_conflict_do_update(index_elements=["id"], set_=changed).returning(column == moment, *known)


_RAISE = _add(gpu_faults.c.raised_at, gpu_faults.c.cleared_at.is_not(None))
_CLEAR = _add(gpu_faults.c.cleared_at)
_COMPLAINING = (
    sa.select(gpu_faults.c.node)
    .where(
        gpu_faults.c.cluster == sa.bindparam("cluster"), gpu_faults.c.raised_at > sa.bindparam("since"), _OF_HARDWARE
    )
    .distinct()
    .order_by(gpu_faults.c.node)
)
_IS_AT_FAULT = sa.select(
    sa.exists().where(
        gpu_faults.c.cluster == sa.bindparam("cluster"),
        gpu_faults.c.node == sa.bindparam("node"),
        gpu_faults.c.cleared_at.is_(None),
        _OF_HARDWARE,
    )
)


def _respond() -> sa.Executable:
    names = ("fault_id", "workload_id", "outcome", "plan_id", "decided_at")
    given = {name: sa.bindparam(name, type_=fault_responses.c[name].type) for name in names}
    statement = insert(fault_responses).values(**given)
    changed: dict[str, Any] = {name: statement.excluded[name] for name in names[2:]}
    return statement.on_conflict_do_update(
        index_elements=list(names[:2]), set_={**changed, "updated_at": sa.func.now()}
    )


_RESPOND = _respond()
_PROPOSALS = responses.proposals(fault_responses)
_WAITING = responses.waiting(
    fault_responses,
    sa.select(
        fault_responses.c.fault_id,
        fault_responses.c.workload_id,
        *(gpu_faults.c[name] for name in ("cluster", "node", "kind", "message", "cleared_at")),
    ).join(gpu_faults, gpu_faults.c.id == fault_responses.c.fault_id),
)
_EACH = (
    sa.func.unnest(sa.bindparam("clusters", type_=_TEXTS), sa.bindparam("names", type_=_TEXTS))
    .table_valued("cluster", "node", name="wanted")
    .render_derived()
)
_OPEN = (
    sa.select(gpu_faults)
    .join(_EACH, sa.and_(_EACH.c.cluster == gpu_faults.c.cluster, _EACH.c.node == gpu_faults.c.node))
    .where(gpu_faults.c.cleared_at.is_(None))
    .order_by(gpu_faults.c.raised_at, gpu_faults.c.id)
)
