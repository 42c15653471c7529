"""Workload rows. The row lock of a workload orders everything that is done to it.

A withdrawal may come before the first submission of its workload: then its generation is remembered here.

A row that cannot be understood raises RowUnreadable where it alone is asked for, and is left out of every page.
"""

import uuid
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert

from shared.errors import AlreadyInProgress
from shared.models.lifecycle import PHASES, SETTLED_PHASES, Phase
from shared.models.page import Page, PageRequest
from shared.models.selector import Operator, Requirement
from shared.models.stored import Workload, WorkloadFilter
from shared.models.workload import WorkloadSpec
from shared.store import pages
from shared.store.revisions import may_be_present
from shared.store.rows import NOT_UNDERSTOOD, WORKLOAD_LOCKS, Row, any_of, readable, unreadable
from shared.store.tables import deployments, reservations, withdrawals, workloads


@dataclass(frozen=True)
class WorkloadRows:
    """Workloads, inside one transaction."""

    connection: sa.Connection

    def get(self, workload_id: uuid.UUID, *, lock: bool = False) -> Workload | None:
        """A workload; with `lock` nobody else changes it until this transaction ends."""
        row = self.connection.execute(_LOCK if lock else _GET, {"workload": workload_id}).one_or_none()
        return None if row is None else _workload(row)

    def lock_with_withdrawal(self, workload_id: uuid.UUID) -> tuple[Workload | None, int]:
        """A workload, locked even before it is added, and the generation that was withdrawn before it came; 0: none.

        The withdrawal may be one that was committed while this waited for the lock. `add` and `remember_withdrawal`
        notice that.
        """
        row = self.connection.execute(_LOCK_WITH_WITHDRAWAL, {"workload": workload_id}).one()
        return None if row.id is None else _workload(row), row.withdrawn_generation or 0

    def withdrawn_generation(self, workload_id: uuid.UUID) -> int:
        """The generation up to which a workload was withdrawn before its first submission; 0: it was not."""
        return self.connection.execute(_WITHDRAWN_GENERATION, {"workload": workload_id}).scalar_one_or_none() or 0

    def remember_withdrawal(self, workload_id: uuid.UUID, generation: int) -> None:
        """Submissions of an unknown workload count only above this generation.

        Raises AlreadyInProgress when another transaction has added the workload. The caller has locked it.
        """
        done = self.connection.execute(_REMEMBER_WITHDRAWAL, {"workload": workload_id, "withdrawn": generation})
        if done.rowcount == 0:
            raise AlreadyInProgress(f"workload {workload_id} is being taken in right now")

    def get_many(self, workload_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Workload]:
        """Several workloads by id; those that are not there, or cannot be read, are absent."""
        return _by_id(self.connection.execute(_GET_MANY, {"ids": list(workload_ids)}))

    def lock_many(self, workload_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Workload]:
        """Locks several workloads, always in the order of their ids; those that cannot be read are absent."""
        return _by_id(self.connection.execute(_LOCK_MANY, {"ids": list(workload_ids)}))

    def lock_free(self, workload_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Workload]:
        """Locks those of several workloads that nobody else has locked; the others are absent. Waits for nobody."""
        return _by_id(self.connection.execute(_LOCK_FREE, {"ids": list(workload_ids)}))

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
        """Inserts a workload. The caller has locked it.

        Raises AlreadyInProgress when another transaction was faster with the same one, or with its withdrawal.
        """
        spec = workload.spec
        values = {"team": spec.team, "namespace": spec.namespace, "name": spec.name, **_changing(workload)}
        done = self.connection.execute(_INSERT, {"id": workload.id, **values})
        if done.rowcount == 0:
            raise AlreadyInProgress(f"workload {spec.team}/{spec.namespace}/{spec.name} is being taken in right now")

    def replace(self, workload: Workload) -> None:
        """Replaces everything that may change."""
        self.connection.execute(_UPDATE, {"workload": workload.id, **_changing(workload)})

    def lock_with_queued_plan(self, limit: int) -> list[Workload]:
        """Workloads with a queued plan whose rollback has ended, locked; those that others have locked are left out."""
        return list(readable(self.connection.execute(_QUEUED_PLAN, {"most": limit}), _workload))

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

    def find(self, wanted: WorkloadFilter, limit: int) -> list[Workload]:
        """The first workloads that fit, in the order of team, namespace and name."""
        return list(self.page(wanted, PageRequest(limit, "name")).items)

    def page(self, wanted: WorkloadFilter, request: PageRequest) -> Page[Workload]:
        """A page of the workloads that fit."""
        statement = sa.select(workloads).where(*conditions(wanted))
        return pages.fetch(self.connection, statement, SORTS, request, _workload)


SORTS = {
    "name": (workloads.c.team, workloads.c.namespace, workloads.c.name),
    "createdAt": (workloads.c.created_at, workloads.c.id),
}
_LABELS: sa.ColumnElement[Any] = sa.literal_column("(workloads.spec -> 'labels')", JSONB)
"""The expression of the index ix_workloads_labels."""


def conditions(wanted: WorkloadFilter) -> Iterator[sa.ColumnElement[bool]]:
    """What the rows of a filter have in common."""
    for name in ("team", "namespace", "name", "phase", "cluster"):
        if (value := getattr(wanted, name)) is not None:
            yield workloads.c[name] == value
    if wanted.teams is not None:
        yield workloads.c.team == sa.any_(sa.literal(sorted(wanted.teams), ARRAY(sa.Text)))
    for requirement in wanted.labels:
        yield _has(requirement)


def _has(requirement: Requirement) -> sa.ColumnElement[bool]:
    has_key = _LABELS.op("?", return_type=sa.Boolean())(requirement.key)
    fits = sa.or_(sa.false(), *(_LABELS.contains({requirement.key: value}) for value in requirement.values))
    match requirement.operator:
        case Operator.IN:
            return fits
        case Operator.NOT_IN:
            return ~fits
        case Operator.EXISTS:
            return has_key
        case Operator.DOES_NOT_EXIST:
            return ~has_key


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
    return {workload.id: workload for workload in readable(rows, _workload)}


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
_GET_MANY = sa.select(workloads).where(any_of(workloads.c.id, "ids"))
_LOCK_MANY = _GET_MANY.order_by(workloads.c.id).with_for_update()
_LOCK_FREE = _GET_MANY.order_by(workloads.c.id).with_for_update(skip_locked=True)
_WITHDRAWN_GENERATION = sa.select(withdrawals.c.generation).where(withdrawals.c.id == sa.bindparam("workload"))


def _lock_with_withdrawal() -> sa.Select[Any]:
    """One row. Where there is no row to lock, the id is: whoever has locked the row never waits for the id."""
    key = sa.bindparam("workload", type_=sa.Uuid)
    known = sa.select(workloads).where(workloads.c.id == key).with_for_update().cte("known")
    lock = sa.func.pg_advisory_xact_lock(WORKLOAD_LOCKS, sa.func.hashtext(sa.cast(key, sa.Text))).table_valued("void")
    locked = sa.select(sa.true()).select_from(lock).scalar_subquery()
    one = sa.select(key.label("id")).subquery("one")
    both = one.outerjoin(known, sa.true()).outerjoin(withdrawals, withdrawals.c.id == one.c.id)
    columns = (withdrawals.c.generation.label("withdrawn_generation"), sa.case((known.c.id.is_(None), locked)))
    return sa.select(known, *columns).select_from(both)


def _insert() -> sa.Executable:
    """Inserts a row, unless it is there, or its generation was withdrawn."""
    given = [one for one in workloads.columns if one.name not in ("created_at", "updated_at")]
    values = {one.name: sa.bindparam(one.name, type_=one.type) for one in given}
    withdrawn = sa.exists().where(withdrawals.c.id == values["id"], withdrawals.c.generation >= values["generation"])
    row = sa.select(*values.values()).where(~withdrawn)
    return insert(workloads).from_select(list(values), row).on_conflict_do_nothing()


def _remember_withdrawal() -> sa.Executable:
    """Inserts or raises a generation, unless its workload is there."""
    key = sa.bindparam("workload", type_=sa.Uuid)
    row = sa.select(key, sa.bindparam("withdrawn", type_=sa.BigInteger))
    statement = insert(withdrawals).from_select(
        ["id", "generation"], row.where(~sa.exists().where(workloads.c.id == key))
    )
    highest = sa.func.greatest(withdrawals.c.generation, statement.excluded.generation)
    return statement.on_conflict_do_update(
        index_elements=[withdrawals.c.id], set_={"generation": highest, "updated_at": sa.func.now()}
    )


_LOCK_WITH_WITHDRAWAL = _lock_with_withdrawal()
_INSERT = _insert()
_REMEMBER_WITHDRAWAL = _remember_withdrawal()
_QUEUED_PLAN = (
    sa.select(workloads)
    .where(workloads.c.queued_plan_id.is_not(None), workloads.c.phase.in_(SETTLED_PHASES))
    .order_by(workloads.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
    .with_for_update(skip_locked=True)
)
_UPDATE = workloads.update().where(workloads.c.id == sa.bindparam("workload"))
