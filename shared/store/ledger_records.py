"""The records of the ledger as a whole: what a check compares, and what a repair of usage writes."""

import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on, insert

from shared.models.amounts import NOTHING, Amounts
from shared.models.deployment import ObjectReference
from shared.models.lifecycle import LIVE_REVISIONS, PLANS_UNDER_WAY, SETTLED_REVISIONS, RevisionStatus
from shared.models.page import Page, PageRequest
from shared.models.plan import Verb
from shared.models.reservation import LineFilter, Reservation, ReservationLine, ReservationState, UsageKey, UsageLine
from shared.models.workload import WorkloadType
from shared.store import pages
from shared.store.ledger import accrued
from shared.store.rows import (
    AMOUNT_COLUMNS,
    NOT_UNDERSTOOD,
    amounts_from,
    amounts_to_columns,
    readable,
    unreadable,
)
from shared.store.tables import action_plans, deployments, reservations, usage, workloads

_KEY = ("team", "cluster", "sku")
_KINDS: dict[str, str] = {kind.value: kind.kind for kind in WorkloadType}


@dataclass(frozen=True)
class ReservedLine:
    """One line of a reservation, and the plan that it is reserved for."""

    workload_id: uuid.UUID
    plan_id: uuid.UUID
    cluster: str
    sku: str
    amounts: Amounts


@dataclass(frozen=True)
class AccountHolder:
    """A workload as the check of the ledger needs it. label: team/namespace/name. kind: of its objects, "" for a
    type of another release.
    """

    id: uuid.UUID
    label: str
    team: str
    kind: str
    plan_id: uuid.UUID


@dataclass(frozen=True)
class ClusterAccount:
    """What a workload has reserved on a cluster, and the revision that should be there.

    label: team/namespace/name. revision_id, status, sku, reference: of its newest live revision there, or of the one
    that ended last.
    """

    label: str
    workload_id: uuid.UUID
    cluster: str
    revision_id: uuid.UUID
    status: RevisionStatus
    sku: str
    reference: ObjectReference
    reserved_replicas: int


@dataclass(frozen=True)
class LedgerRecordRows:
    """Reservations and usage, inside one transaction."""

    connection: sa.Connection

    def in_question(self, after: uuid.UUID, limit: int) -> Sequence[AccountHolder]:
        """The next workloads, by id, whose reservation is not obviously right.

        They have a reservation, a live revision, or a plan under way. Obviously right is a workload that has no plan
        under way, one live revision, and one line that is exactly what the revision takes up, or, while that rolls
        out, no more than its plan takes up with its surge. Nearly all are: so PostgreSQL passes over them, and a check
        reads the others alone.
        """
        own = workloads.c.id
        live = sa.and_(deployments.c.workload_id == own, deployments.c.status.in_(LIVE_REVISIONS))
        line = reservations.c.workload_id == own
        same = (reservations.c.cluster == deployments.c.cluster, reservations.c.sku == deployments.c.sku)
        alike = [reservations.c[name] == _amount(deployments.c.amounts, name) for name in AMOUNT_COLUMNS]
        plan_under_way = sa.exists().where(
            action_plans.c.id == workloads.c.plan_id, action_plans.c.status.in_(PLANS_UNDER_WAY)
        )
        # Counts, and no EXISTS: PostgreSQL may answer that for all workloads at once, by joining all with all.
        revisions = _count(deployments, live)
        lines = _count(reservations, line)
        both = deployments.join(reservations, reservations.c.workload_id == deployments.c.workload_id)
        exact = _count(both, live, *same, *alike)
        with_plan = both.join(action_plans, action_plans.c.id == deployments.c.plan_id)
        rolls_out = _count(with_plan, live, *same, *_rolls_out())
        right = sa.and_(revisions == 1, lines == 1, sa.or_(exact == 1, rolls_out == 1))
        concerned = sa.or_(plan_under_way, sa.and_(revisions + lines > 0, ~right))
        columns = (own, workloads.c.team, workloads.c.namespace, workloads.c.name, workloads.c.plan_id)
        statement: sa.Select[Any] = sa.select(*columns, workloads.c.spec["type"].astext.label("type"))
        statement = statement.where(own > after, concerned).order_by(own).limit(limit)
        return [_holder(row) for row in self.connection.execute(statement)]

    def holder(self, workload_id: uuid.UUID) -> AccountHolder:
        """One workload that exists."""
        columns = (workloads.c.id, workloads.c.team, workloads.c.namespace, workloads.c.name, workloads.c.plan_id)
        statement: sa.Select[Any] = sa.select(*columns, workloads.c.spec["type"].astext.label("type"))
        return _holder(self.connection.execute(statement.where(workloads.c.id == workload_id)).one())

    def on_clusters(
        self, ended_since: datetime, after: tuple[uuid.UUID, str] | None, limit: int
    ) -> list[ClusterAccount]:
        """The next accounts, by workload id and cluster, of what is live and what ended since then."""
        statement = _accounts_on_clusters(ended_since)
        if after is not None:
            place = sa.tuple_(deployments.c.workload_id, deployments.c.cluster)
            statement = statement.where(deployments.c.workload_id >= after[0], place > sa.tuple_(*after))
        return self._accounts(statement.limit(limit))

    def on_clusters_of(self, ended_since: datetime, workload_ids: Collection[uuid.UUID]) -> list[ClusterAccount]:
        """The accounts of these workloads."""
        statement = _accounts_on_clusters(ended_since).where(deployments.c.workload_id.in_(workload_ids))
        return self._accounts(statement)

    def lines_of(self, workload_ids: Collection[uuid.UUID]) -> list[ReservedLine]:
        """Every line of these workloads."""
        statement = sa.select(reservations).where(reservations.c.workload_id.in_(workload_ids))
        return [
            ReservedLine(row["workload_id"], row["plan_id"], row["cluster"], row["sku"], amounts_from(row))
            for row in self.connection.execute(statement).mappings()
        ]

    def reservation_page(self, wanted: LineFilter, request: PageRequest) -> Page[ReservationLine]:
        """A page of the lines of reservations that fit."""
        statement = sa.select(reservations).where(*_conditions(reservations, wanted))
        return pages.fetch(self.connection, statement, RESERVATION_SORTS, request, _reservation_line)

    def usage_page(self, wanted: LineFilter, request: PageRequest) -> Page[UsageLine]:
        """A page of what teams hold. What holds nothing any more shows what it has cost this month."""
        statement = sa.select(usage, accrued().label("month")).where(*_conditions(usage, wanted))
        return pages.fetch(self.connection, statement, USAGE_SORTS, request, _usage_line)

    def without_workload(self) -> list[Reservation]:
        """Reservations of workloads that do not exist, by workload id and cluster."""
        orphaned = ~sa.exists().where(workloads.c.id == reservations.c.workload_id)
        statement = sa.select(reservations).where(orphaned).order_by(reservations.c.workload_id, reservations.c.cluster)
        found: dict[tuple[uuid.UUID, str, str], dict[str, Amounts]] = {}
        for row in self.connection.execute(statement).mappings():
            key = (row["workload_id"], row["cluster"], row["team"])
            found.setdefault(key, {})[row["sku"]] = amounts_from(row)
        return [Reservation(workload_id, cluster, team, lines) for (workload_id, cluster, team), lines in found.items()]

    def counted(self) -> dict[UsageKey, Amounts]:
        """What usage counts."""
        return self._totals(usage)

    def reserved(self) -> dict[UsageKey, Amounts]:
        """The sums of the reservations, which usage must equal."""
        return self._totals(reservations)

    def lock_usage(self, key: UsageKey) -> Amounts:
        """What one row of usage counts; a missing row is added. Nobody else counts in it until the commit."""
        empty = insert(usage).values(**key._asdict(), **amounts_to_columns(NOTHING))
        self.connection.execute(empty.on_conflict_do_nothing(index_elements=list(_KEY)))
        statement = sa.select(usage).where(_is(usage, key)).with_for_update()
        return amounts_from(self.connection.execute(statement).mappings().one())

    def reserved_at(self, key: UsageKey) -> Amounts:
        """The sum of the reservations that one row of usage must equal."""
        sums: list[sa.ColumnElement[Any]] = [
            sa.func.coalesce(sa.func.sum(reservations.c[name]), 0).label(name) for name in AMOUNT_COLUMNS
        ]
        statement = sa.select(*sums).where(_is(reservations, key))
        return amounts_from(self.connection.execute(statement).mappings().one())

    def set_usage(self, key: UsageKey, amounts: Amounts) -> None:
        """Replaces what a locked row of usage counts; what it has cost up to now is charged before."""
        changed = {**amounts_to_columns(amounts), "accrued_usd": accrued(), "accrued_at": sa.func.now()}
        self.connection.execute(usage.update().where(_is(usage, key)).values(**changed, updated_at=sa.func.now()))

    def _accounts(self, statement: sa.Select[Any]) -> list[ClusterAccount]:
        return list(readable(self.connection.execute(statement), _cluster_account))

    def _totals(self, table: sa.Table) -> dict[UsageKey, Amounts]:
        columns = [table.c[name] for name in _KEY]
        sums = [sa.func.sum(table.c[name]).label(name) for name in AMOUNT_COLUMNS]
        found = self.connection.execute(sa.select(*columns, *sums).group_by(*columns)).mappings()
        return {UsageKey(row["team"], row["cluster"], row["sku"]): amounts_from(row) for row in found}


RESERVATION_SORTS = {
    "workload": (reservations.c.workload_id, reservations.c.cluster, reservations.c.sku),
    "team": (reservations.c.team, reservations.c.workload_id, reservations.c.cluster, reservations.c.sku),
}
USAGE_SORTS = {"team": (usage.c.team, usage.c.cluster, usage.c.sku)}


def _conditions(table: sa.Table, wanted: LineFilter) -> list[sa.ColumnElement[bool]]:
    given: dict[str, Any] = {
        "team": wanted.team,
        "cluster": wanted.cluster,
        "workload_id": wanted.workload_id,
        "state": wanted.state and sa.literal_column(f"'{wanted.state.value}'"),  # as in the condition of the index
    }
    found: list[sa.ColumnElement[bool]] = [table.c[name] == value for name, value in given.items() if value is not None]
    return found if wanted.teams is None else [*found, table.c.team.in_(sorted(wanted.teams))]


def _reservation_line(row: sa.Row[Any]) -> ReservationLine:
    return ReservationLine(
        workload_id=row.workload_id,
        cluster=row.cluster,
        sku=row.sku,
        team=row.team,
        plan_id=row.plan_id,
        state=ReservationState(row.state),
        amounts=amounts_from(row._mapping),
        expires_at=row.expires_at,
    )


def _usage_line(row: sa.Row[Any]) -> UsageLine:
    return UsageLine(row.team, row.cluster, row.sku, amounts_from(row._mapping), Decimal(row.month))


def _accounts_on_clusters(ended_since: datetime) -> sa.Select[Any]:
    """One row for a workload and a cluster: what is live, and what ended since then where none is live."""
    columns, other = deployments.c, deployments.alias()
    live = columns.status.in_(LIVE_REVISIONS)
    newer = sa.exists().where(
        other.c.workload_id == columns.workload_id,
        sa.or_(other.c.revision > columns.revision, other.c.status.in_(LIVE_REVISIONS)),
    )
    replicas = sa.select(sa.func.coalesce(sa.func.sum(reservations.c.replicas), 0)).where(
        reservations.c.workload_id == columns.workload_id, reservations.c.cluster == columns.cluster
    )
    return (
        sa.select(
            columns.id,
            columns.workload_id,
            columns.cluster,
            columns.status,
            columns.sku,
            columns.kind,
            columns.namespace,
            columns.name,
            columns.uid,
            sa.func.concat_ws("/", workloads.c.team, workloads.c.namespace, workloads.c.name).label("label"),
            replicas.scalar_subquery().label("reserved_replicas"),
        )
        .join(workloads, workloads.c.id == columns.workload_id)
        .where(sa.or_(live, sa.and_(columns.updated_at >= ended_since, ~newer)))
        .ext(distinct_on(columns.workload_id, columns.cluster))
        .order_by(columns.workload_id, columns.cluster, columns.revision.desc())
    )


def _cluster_account(row: sa.Row[Any]) -> ClusterAccount:
    """Raises RowUnreadable."""
    try:
        status = RevisionStatus(row.status)
    except NOT_UNDERSTOOD as error:
        raise unreadable(f"revision {row.id} of workload {row.label} ({row.workload_id})", error) from error
    return ClusterAccount(
        label=row.label,
        workload_id=row.workload_id,
        cluster=row.cluster,
        revision_id=row.id,
        status=status,
        sku=row.sku,
        reference=ObjectReference(row.kind, row.namespace, row.name, row.uid),
        reserved_replicas=int(row.reserved_replicas),
    )


def _count(rows: sa.FromClause, *where: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    return sa.select(sa.func.count()).select_from(rows).where(*where).scalar_subquery()


def _rolls_out() -> Iterator[sa.ColumnElement[bool]]:
    """A revision rolls out as `occupancy.is_rolling_out` says, and its line is between that and all of its plan."""
    yield deployments.c.kind != "Job"
    yield deployments.c.status.not_in((*SETTLED_REVISIONS, RevisionStatus.REMOVING))
    decision = action_plans.c.decision
    yield decision["cluster"].astext == deployments.c.cluster
    yield decision["verb"].astext != Verb.REMOVE
    yield action_plans.c.sku == reservations.c.sku
    for name in AMOUNT_COLUMNS:
        most = _amount(action_plans.c.amounts, name) + _amount(action_plans.c.surge, name)
        yield reservations.c[name].between(_amount(deployments.c.amounts, name), most)


def _amount(amounts: sa.ColumnElement[Any], name: str) -> sa.ColumnElement[Any]:
    return sa.cast(amounts[name].astext, reservations.c[name].type)


def _holder(row: sa.Row[Any]) -> AccountHolder:
    label = f"{row.team}/{row.namespace}/{row.name}"
    return AccountHolder(row.id, label, row.team, _KINDS.get(row.type, ""), row.plan_id)


def _is(table: sa.Table, key: UsageKey) -> sa.ColumnElement[bool]:
    return sa.and_(*(table.c[name] == value for name, value in key._asdict().items()))
