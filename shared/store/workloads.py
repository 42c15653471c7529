"""Workload rows. The row lock of a workload orders everything that is done to it.

A row that cannot be understood raises RowUnreadable where it alone is asked for, and is left out of every page.
"""

import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.errors import AlreadyInProgress
from shared.models.lifecycle import PHASES, SETTLED_PHASES, Phase
from shared.models.stored import Workload
from shared.models.workload import WorkloadSpec
from shared.store.deployments import may_be_present
from shared.store.rows import NOT_UNDERSTOOD, Row, readable, unreadable
from shared.store.tables import deployments, reservations, workloads


@dataclass(frozen=True)
class WorkloadRows:
    """Workloads, inside one transaction."""

    connection: sa.Connection

    def get(self, workload_id: uuid.UUID, *, lock: bool = False) -> Workload | None:
        """A workload; with `lock` nobody else changes it until this transaction ends."""
        row = self.connection.execute(_LOCK if lock else _GET, {"workload": workload_id}).one_or_none()
        return None if row is None else _workload(row)

    def get_many(self, workload_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Workload]:
        """Several workloads by id; those that are not there, or cannot be read, are absent."""
        statement = sa.select(workloads).where(workloads.c.id.in_(workload_ids))
        return _by_id(self.connection.execute(statement))

    def lock_many(self, workload_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Workload]:
        """Locks several workloads, always in the order of their ids; those that cannot be read are absent."""
        statement = sa.select(workloads).where(workloads.c.id.in_(workload_ids)).order_by(workloads.c.id)
        return _by_id(self.connection.execute(statement.with_for_update()))

    def on_cluster(self, cluster: str, after: uuid.UUID, limit: int) -> list[tuple[uuid.UUID, str]]:
        """The next workloads, by id, that have or may get something on a cluster, each with its full name.

        They may have an object there, have reserved something there, or are on their way there.
        """
        own = workloads.c.id
        objects = sa.exists().where(
            deployments.c.workload_id == own, deployments.c.cluster == cluster, may_be_present()
        )
        held = sa.exists().where(reservations.c.workload_id == own, reservations.c.cluster == cluster)
        coming = sa.and_(workloads.c.cluster == cluster, workloads.c.phase.not_in(SETTLED_PHASES))
        label = sa.func.concat_ws("/", workloads.c.team, workloads.c.namespace, workloads.c.name)
        statement = sa.select(own, label).where(own > after, sa.or_(objects, held, coming))
        return [(row[0], row[1]) for row in self.connection.execute(statement.order_by(own).limit(limit))]

    def add(self, workload: Workload) -> None:
        """Inserts a workload. Raises AlreadyInProgress when another transaction was faster with the same one."""
        spec = workload.spec
        statement = insert(workloads).values(
            id=workload.id, team=spec.team, namespace=spec.namespace, name=spec.name, **_changing(workload)
        )
        done = self.connection.execute(statement.on_conflict_do_nothing())
        if done.rowcount == 0:
            raise AlreadyInProgress(f"workload {spec.team}/{spec.namespace}/{spec.name} is being taken in right now")

    def replace(self, workload: Workload) -> None:
        """Replaces everything that may change."""
        self.connection.execute(_UPDATE, {"workload": workload.id, **_changing(workload)})

    def lock_with_queued_plan(self, limit: int) -> list[Workload]:
        """Workloads with a queued plan whose rollback has ended, locked; those that others have locked are left out."""
        return list(readable(self.connection.execute(_QUEUED_PLAN, {"most": limit}), _workload, workloads.name))

    def take_plan(
        self, workload: Workload, plan_id: uuid.UUID, *, withdrawn: bool, queued_plan_id: uuid.UUID | None = None
    ) -> Workload:
        """Makes a plan the workload's newest: every earlier one is superseded, but one that stays queued behind it."""
        newest = replace(
            workload,
            plan_id=plan_id,
            phase=Phase.PROPOSED,
            withdrawn=withdrawn,
            reason="",
            queued_plan_id=queued_plan_id,
        )
        self.replace(newest)
        return newest

    def advance(self, workload: Workload, phase: Phase, *, reason: str = "") -> None:
        """Moves the phase along the lifecycle's table. Raises IllegalTransition."""
        changed = {"phase": PHASES.advance(workload.phase, phase), "reason": reason}
        self.connection.execute(_UPDATE, {"workload": workload.id, **changed})

    def start_revision(self, workload: Workload, revision: int) -> None:
        """Remembers the newest revision and that it is being applied."""
        changed = {"phase": PHASES.advance(workload.phase, Phase.APPLYING), "revision": revision}
        self.connection.execute(_UPDATE, {"workload": workload.id, **changed})

    def find(
        self,
        *,
        team: str | None = None,
        namespace: str | None = None,
        phase: str | None = None,
        name: str | None = None,
        limit: int = 1000,
    ) -> list[Workload]:
        """Workloads in the order of team, namespace and name."""
        statement = sa.select(workloads).order_by(
            workloads.c.team, workloads.c.namespace, workloads.c.name, workloads.c.id
        )
        wanted = {"team": team, "namespace": namespace, "phase": phase, "name": name}
        for column, value in wanted.items():
            if value is not None:
                statement = statement.where(workloads.c[column] == value)
        return list(readable(self.connection.execute(statement.limit(limit)), _workload, workloads.name))


def _changing(workload: Workload) -> dict[str, Any]:
    return {
        "generation": workload.generation,
        "spec": workload.spec.content(),
        "usd_per_replica_hour": workload.usd_per_replica_hour,
        "phase": workload.phase,
        "reason": workload.reason,
        "withdrawn": workload.withdrawn,
        "cluster": workload.cluster,
        "plan_id": workload.plan_id,
        "revision": workload.revision,
        "queued_plan_id": workload.queued_plan_id,
    }


def _by_id(rows: Iterable[Row]) -> dict[uuid.UUID, Workload]:
    return {workload.id: workload for workload in readable(rows, _workload, workloads.name)}


def _workload(row: Row) -> Workload:
    try:
        return Workload(
            id=row.id,
            spec=WorkloadSpec.from_content(row.spec),
            generation=row.generation,
            usd_per_replica_hour=row.usd_per_replica_hour,
            phase=Phase(row.phase),
            cluster=row.cluster,
            plan_id=row.plan_id,
            revision=row.revision,
            withdrawn=row.withdrawn,
            reason=row.reason,
            created_at=row.created_at,
            updated_at=row.updated_at,
            queued_plan_id=row.queued_plan_id,
        )
    except NOT_UNDERSTOOD as error:
        raise unreadable(f"workload {row.team}/{row.namespace}/{row.name} ({row.id})", error) from error


# Built once: putting a statement together costs more than PostgreSQL needs to answer it.
_GET = sa.select(workloads).where(workloads.c.id == sa.bindparam("workload"))
_LOCK = _GET.with_for_update()
_QUEUED_PLAN = (
    sa.select(workloads)
    .where(workloads.c.queued_plan_id.is_not(None), workloads.c.phase.in_(SETTLED_PHASES))
    .order_by(workloads.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
    .with_for_update(skip_locked=True)
)
_UPDATE = workloads.update().where(workloads.c.id == sa.bindparam("workload"))
