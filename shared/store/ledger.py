"""The ledger: what every workload holds, and what teams and clusters hold together.

A reservation is a line for each (workload, cluster, GPU SKU). Approval holds it, with the larger of the
old and the new revision plus the surge of the update; execution commits it before it touches the
cluster; verification settles it to what the revision that runs really takes; observed absence releases
it. Each line also counts in the usage of its (team, cluster, SKU), which is never changed in any other
way, so the total of a team is a sum over a few rows. A trigger adds each change to the totals of its cluster and of
everything, each of which is the sum of a few rows too: a transaction adds to one that nobody else has locked.

Money is charged by the microsecond and never rounded to the cent: only dividing by the seconds of an hour is inexact,
by less than 1e-12 dollars a charge. So the accounts of workloads and the usage that policy counts in say the same to
the cent after billions of charges.

Locks, always in this order, so that there is no deadlock: (1) the workload's row, by the caller;
(2) the policy set, which decisions share and a change of policies takes alone; (3) the scopes that
the matching rules count in, sorted; (4) plans of the queue; (5) usage rows, sorted; (6) the audit
shard. Teams that share no rule share no lock: a scope is locked only when a rule counts in it.
"""

import hashlib
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.models.amounts import NOTHING, Amounts
from shared.models.reservation import Reservation, ReservationState
from shared.policy.facts import ScopeUsage
from shared.policy.holdings import WorkloadHoldings, sum_by_sku
from shared.policy.vocabulary import CountingScope, ScopeKind
from shared.store.rows import AMOUNT_COLUMNS, MONTH_START, amounts_from, amounts_to_columns
from shared.store.tables import reservations, usage, usage_totals, workload_costs

_LOCK = sa.text("SELECT pg_advisory_xact_lock(key) FROM unnest(CAST(:keys AS bigint[])) AS key")

# What a workload's lines have cost since they were last charged, split at the ends of days in UTC.
_CHARGE = sa.text("""
    WITH due AS MATERIALIZED (
        SELECT accrued_at AT TIME ZONE 'UTC' AS since, sku, team, gpus, usd_per_hour FROM reservations
         WHERE workload_id = :workload AND cluster = :cluster
    ), charged AS (
        UPDATE reservations SET accrued_at = now() WHERE workload_id = :workload AND cluster = :cluster
    ), elapsed AS (
        SELECT due.*, day, extract(epoch FROM least(now() AT TIME ZONE 'UTC', day + interval '1 day')
                                              - greatest(since, day)) AS seconds
          FROM due, generate_series(date_trunc('day', since), now() AT TIME ZONE 'UTC', interval '1 day') AS d (day)
    )
    INSERT INTO workload_costs (workload_id, day, cluster, sku, team, usd, gpu_hours)
    SELECT :workload, day, :cluster, sku, team, usd_per_hour * seconds / 3600, gpus * seconds / 3600
      FROM elapsed
    ON CONFLICT (workload_id, day, cluster, sku) DO UPDATE
       SET usd = workload_costs.usd + excluded.usd, gpu_hours = workload_costs.gpu_hours + excluded.gpu_hours,
           updated_at = now()
""")

Changes = dict[tuple[str, str, str], Amounts]
"""What usage grows by, for each (team, cluster, GPU SKU)."""


@dataclass(frozen=True)
class Ledger:
    """The ledger, inside one transaction."""

    connection: sa.Connection

    def lock_scopes(self, scopes: Iterable[CountingScope]) -> None:
        """Waits for every other transaction that counts in one of these scopes, and holds them up until the commit.

        Sorted by the number that is locked, not by name: two names may share a number.
        """
        numbers = sorted({_lock_number(scope) for scope in scopes})
        if numbers:
            self.connection.execute(_LOCK, {"keys": numbers})

    def usage(self, scopes: Iterable[CountingScope]) -> dict[CountingScope, ScopeUsage]:
        """Everything reserved, approved and running in each scope, and what it has cost this month.

        At most one scope of a kind. The totals of clusters and of everything are read, not added up from usage.
        """
        by_kind = {scope.kind: scope for scope in scopes}
        found: dict[CountingScope, ScopeUsage] = {}
        if (own := by_kind.pop(ScopeKind.WORKLOAD, None)) is not None:
            found[own] = self.holdings(uuid.UUID(own.key)).usage
        if by_kind:
            keys = {kind.value: scope.key for kind, scope in by_kind.items()}
            rows = self.connection.execute(_usage_of(frozenset(by_kind)), keys).mappings().all()
            found |= {scope: _total(row for row in rows if row["kind"] == kind) for kind, scope in by_kind.items()}
        return found

    def holdings(self, workload_id: uuid.UUID) -> WorkloadHoldings:
        """What a workload holds everywhere. Its own lock keeps it as it is."""
        rows = self.connection.execute(_HOLDINGS, {"workload": workload_id}).mappings().all()
        lines: dict[str, dict[str, Amounts]] = {}
        for row in rows:
            if row["cluster"] is not None:
                lines.setdefault(row["cluster"], {})[row["sku"]] = amounts_from(row)
        month = sum((row["month"] for row in rows if row["month"] is not None), rows[0]["charged"])
        return WorkloadHoldings(workload_id, lines, month)

    def lines_of(self, workload_ids: Collection[uuid.UUID]) -> dict[tuple[uuid.UUID, str], dict[str, Amounts]]:
        """The lines of several workloads, by workload and cluster."""
        found: dict[tuple[uuid.UUID, str], dict[str, Amounts]] = {}
        statement = sa.select(reservations).where(reservations.c.workload_id.in_(workload_ids))
        for row in self.connection.execute(statement).mappings():
            found.setdefault((row["workload_id"], row["cluster"]), {})[row["sku"]] = amounts_from(row)
        return found

    def reserved(self, workload_id: uuid.UUID, cluster: str) -> dict[str, Amounts]:
        """The lines that a workload holds on a cluster."""
        rows = self.connection.execute(_RESERVED, {"workload": workload_id, "cluster": cluster})
        return {row["sku"]: amounts_from(row) for row in rows.mappings()}

    def release_elsewhere(self, holdings: WorkloadHoldings, team: str, cluster: str) -> Changes:
        """Releases what a workload holds on any cluster but this one: a plan that never ran there may have held it.

        Returns what its lines have grown by.

        The counters of this cluster are locked together with those of the others, in one order: the plan may be given
        a hold here later. Two workloads that change places would wait for each other otherwise.
        """
        owner, others = holdings.workload_id, holdings.elsewhere(cluster)
        if not others:
            return {}
        self.connection.execute(_LOCK_COUNTERS, {"team": team, "clusters": [cluster, *others]})
        return self.settle([(Reservation(owner, other, team, {}), owner) for other in others])

    def hold(
        self,
        reservation: Reservation,
        plan_id: uuid.UUID,
        expires_at: datetime,
        before: Mapping[str, Amounts] | None = None,
    ) -> Changes:
        """Holds exactly these lines for a plan that was approved, until it is executed or `expires_at`.

        before: the lines that the workload holds on the cluster, when the caller has read them under its lock. Returns
        what its lines have grown by.
        """
        if before is None:
            before = self.reserved(reservation.workload_id, reservation.cluster)
        changes = self._replace(reservation, before, plan_id, expires_at)
        self._count(changes)
        return changes

    def commit(self, plan_id: uuid.UUID, now: datetime) -> bool:
        """Commits a plan's reservation before it is executed. False if it is gone, or its hold expired."""
        return self.connection.execute(_COMMIT, {"plan": plan_id, "now": now}).rowcount > 0

    def settle(self, settlements: Sequence[tuple[Reservation, uuid.UUID]]) -> Changes:
        """Makes each reservation exactly what runs, for the plan that it runs for; no lines release it.

        Returns what the lines have grown by.
        """
        changes: Changes = {}
        for reservation, plan_id in settlements:
            before = self.reserved(reservation.workload_id, reservation.cluster)
            if before == reservation.lines:
                continue  # what it costs goes on as it does
            for key, change in self._replace(reservation, before, plan_id, None).items():
                changes[key] = changes.get(key, NOTHING) + change
        self._count(changes)
        return changes

    def skus(self) -> set[str]:
        """Every SKU that something is, or was, held under."""
        both = sa.union(sa.select(reservations.c.sku), sa.select(usage.c.sku))
        return set(self.connection.execute(both).scalars())

    def lock_everything(self) -> None:
        """Keeps every other transaction from changing the ledger until the commit."""
        self.connection.execute(_LOCK_TABLES)

    def rename_sku(self, old: str, new: str) -> None:
        """Moves what is held under one name of a SKU to another name, onto what is held under that already.

        The caller holds `lock_everything`. What was held until now is charged first.
        """
        mine = sa.select(reservations.c.workload_id, reservations.c.cluster).where(reservations.c.sku == old)
        for row in self.connection.execute(mine).all():
            self.connection.execute(_CHARGE, {"workload": row.workload_id, "cluster": row.cluster})
        renames = ((reservations, _RENAME_LINES), (usage, _RENAME_USAGE), (workload_costs, _RENAME_COSTS))
        for table, statement in renames:
            self.connection.execute(statement, {"old": old, "new": new})
            self.connection.execute(table.delete().where(table.c.sku == old))

    def _replace(
        self,
        reservation: Reservation,
        before: Mapping[str, Amounts],
        plan_id: uuid.UUID,
        expires_at: datetime | None,
    ) -> Changes:
        if before:
            self.connection.execute(_CHARGE, {"workload": reservation.workload_id, "cluster": reservation.cluster})
        mine = (reservations.c.workload_id == reservation.workload_id, reservations.c.cluster == reservation.cluster)
        if gone := before.keys() - reservation.lines.keys():
            self.connection.execute(reservations.delete().where(*mine, reservations.c.sku.in_(sorted(gone))))
        for sku, amounts in sorted(reservation.lines.items()):
            if expires_at is None and before.get(sku) == amounts:
                continue
            line = {
                "workload_id": reservation.workload_id,
                "cluster": reservation.cluster,
                "sku": sku,
                "team": reservation.team,
                "plan_id": plan_id,
                "state": ReservationState.HELD if expires_at else ReservationState.COMMITTED,
                "expires_at": expires_at,
            }
            self.connection.execute(_REPLACE, {**line, **amounts_to_columns(amounts)})
        return {
            (reservation.team, reservation.cluster, sku): reservation.lines.get(sku, NOTHING) - before.get(sku, NOTHING)
            for sku in before.keys() | reservation.lines.keys()
        }

    def _count(self, changes: Changes) -> None:
        for (team, cluster, sku), change in sorted(changes.items()):
            if change == NOTHING:
                continue
            row = {"team": team, "cluster": cluster, "sku": sku, **amounts_to_columns(change)}
            self.connection.execute(_COUNT, row)


def hours_since(since: sa.ColumnElement[datetime]) -> sa.ColumnElement[Any]:
    """As a number, up to now."""
    return _seconds_since(since) / 3600


def _seconds_since(since: sa.ColumnElement[datetime]) -> sa.ColumnElement[Any]:
    return sa.cast(sa.extract("epoch", sa.func.now() - since), sa.Numeric)


def accrued() -> sa.ColumnElement[Any]:
    """What a usage row has cost since the month began: what is written down, and what ran up since."""
    this_month = usage.c.accrued_at >= MONTH_START
    running = usage.c.usd_per_hour * hours_since(sa.func.greatest(usage.c.accrued_at, MONTH_START))
    return sa.case((this_month, usage.c.accrued_usd), else_=sa.literal(0)) + running


def _accrued_together(table: sa.Table) -> sa.ColumnElement[Any]:
    """The sum of what rows have `accrued`: the month's begin is worked out once, and the sum is divided."""
    begun = sa.select(MONTH_START).scalar_subquery()
    written = sa.case((table.c.accrued_at >= begun, table.c.accrued_usd), else_=sa.literal(0))
    running = table.c.usd_per_hour * _seconds_since(sa.func.greatest(table.c.accrued_at, begun))
    return sa.func.sum(written) + sa.func.sum(running) / 3600


# Built once: putting a statement together costs more than PostgreSQL needs to answer it.

_COUNTED_IN = {
    ScopeKind.TEAM: usage.c.team,
    ScopeKind.CLUSTER: usage_totals.c.cluster,
    ScopeKind.GLOBAL: usage_totals.c.cluster,
}
"""Where the key of a scope is; that of everything is empty."""


@lru_cache
def _usage_of(kinds: frozenset[ScopeKind]) -> sa.CompoundSelect[Any]:
    """Sums by GPU SKU of the scopes whose keys are `:team`, `:cluster` and `:global`."""
    return sa.union_all(*(_usage_in(kind) for kind in sorted(kinds)))


def _usage_in(kind: ScopeKind) -> sa.Select[Any]:
    column = _COUNTED_IN[kind]
    table = column.table
    sums = [sa.func.sum(table.c[name]).label(name) for name in AMOUNT_COLUMNS]
    name = sa.literal_column(f"'{kind.value}'", sa.Text).label("kind")
    statement = sa.select(name, table.c.sku, *sums, _accrued_together(table).label("month"))
    return statement.where(column == sa.bindparam(kind.value)).group_by(table.c.sku)


def _total(rows: Iterable[Mapping[Any, Any]]) -> ScopeUsage:
    rows = list(rows)
    month = sum((row["month"] for row in rows), Decimal(0))
    return ScopeUsage(sum_by_sku((row["sku"], amounts_from(row)) for row in rows), month)


def _holdings() -> sa.Select[Any]:
    """A row for each line, or one without a line; `charged` is what was charged this month before."""
    mine = sa.bindparam("workload", type_=sa.Uuid)
    charged = sa.select(sa.func.coalesce(sa.func.sum(workload_costs.c.usd), 0).label("charged")).where(
        workload_costs.c.workload_id == mine,
        workload_costs.c.day >= sa.cast(sa.func.timezone("UTC", MONTH_START), sa.Date),
    )
    before = charged.subquery()
    since = sa.func.greatest(reservations.c.accrued_at, MONTH_START)
    month = (reservations.c.usd_per_hour * hours_since(since)).label("month")
    amounts = [reservations.c[name] for name in AMOUNT_COLUMNS]
    return sa.select(before.c.charged, reservations.c.cluster, reservations.c.sku, *amounts, month).select_from(
        before.outerjoin(reservations, reservations.c.workload_id == mine)
    )


def _replacing() -> sa.Insert:
    statement = insert(reservations)
    new = {name: statement.excluded[name] for name in (*AMOUNT_COLUMNS, "plan_id", "state", "expires_at")}
    return statement.on_conflict_do_update(
        index_elements=["workload_id", "cluster", "sku"],
        set_={**new, "accrued_at": sa.func.now(), "updated_at": sa.func.now()},
    )


def _counting() -> sa.Insert:
    statement = insert(usage)
    added = {name: usage.c[name] + statement.excluded[name] for name in AMOUNT_COLUMNS}
    return statement.on_conflict_do_update(
        index_elements=["team", "cluster", "sku"],
        set_={**added, "accrued_usd": accrued(), "accrued_at": sa.func.now(), "updated_at": sa.func.now()},
    )


def _renaming_lines() -> sa.Insert:
    kept = ("workload_id", "cluster", "team", "plan_id", "state", "expires_at", "accrued_at", *AMOUNT_COLUMNS)
    moved = sa.select(*(reservations.c[name] for name in kept), sa.bindparam("new", type_=sa.Text))
    statement = insert(reservations).from_select([*kept, "sku"], moved.where(reservations.c.sku == sa.bindparam("old")))
    added = {name: reservations.c[name] + statement.excluded[name] for name in AMOUNT_COLUMNS}
    return statement.on_conflict_do_update(index_elements=["workload_id", "cluster", "sku"], set_=added)


def _renaming_usage() -> sa.Insert:
    kept = ("team", "cluster", *AMOUNT_COLUMNS)
    moved = sa.select(
        *(usage.c[name] for name in kept), sa.bindparam("new", type_=sa.Text), accrued(), sa.func.now()
    ).where(usage.c.sku == sa.bindparam("old"))
    statement = insert(usage).from_select([*kept, "sku", "accrued_usd", "accrued_at"], moved)
    added = {name: usage.c[name] + statement.excluded[name] for name in AMOUNT_COLUMNS}
    return statement.on_conflict_do_update(
        index_elements=["team", "cluster", "sku"],
        set_={**added, "accrued_usd": accrued() + statement.excluded.accrued_usd, "accrued_at": sa.func.now()},
    )


def _renaming_costs() -> sa.Insert:
    kept = ("workload_id", "day", "cluster", "team", "usd", "gpu_hours")
    moved = sa.select(*(workload_costs.c[name] for name in kept), sa.bindparam("new", type_=sa.Text))
    old = workload_costs.c.sku == sa.bindparam("old")
    statement = insert(workload_costs).from_select([*kept, "sku"], moved.where(old))
    return statement.on_conflict_do_update(
        index_elements=["workload_id", "day", "cluster", "sku"],
        set_={name: workload_costs.c[name] + statement.excluded[name] for name in ("usd", "gpu_hours")},
    )


_LOCK_COUNTERS = (
    sa.select(usage.c.id)
    .where(usage.c.team == sa.bindparam("team"), usage.c.cluster.in_(sa.bindparam("clusters", expanding=True)))
    .order_by(usage.c.team, usage.c.cluster, usage.c.sku)
    .with_for_update()
)
_LOCK_TABLES = sa.text("LOCK TABLE reservations, usage IN SHARE ROW EXCLUSIVE MODE")
_RENAME_LINES = _renaming_lines()
_RENAME_USAGE = _renaming_usage()
_RENAME_COSTS = _renaming_costs()
_HOLDINGS = _holdings()
_COMMIT = (
    reservations.update()
    .where(
        reservations.c.plan_id == sa.bindparam("plan"),
        sa.or_(reservations.c.state == ReservationState.COMMITTED, reservations.c.expires_at > sa.bindparam("now")),
    )
    .values(state=ReservationState.COMMITTED, expires_at=None)
)
_REPLACE = _replacing()
_COUNT = _counting()
_RESERVED = sa.select(reservations).where(
    reservations.c.workload_id == sa.bindparam("workload"), reservations.c.cluster == sa.bindparam("cluster")
)


def _lock_number(scope: CountingScope) -> int:
    """A signed 64-bit number for PostgreSQL's advisory locks."""
    text = f"sentinel ledger {scope.kind}/{scope.key}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], signed=True)
