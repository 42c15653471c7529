"""The ledger: what every workload holds, and what teams and clusters hold together.

A reservation is a line for each (workload, cluster, GPU SKU). Approval holds it, with the larger of the
old and the new revision plus the surge of the update; execution commits it before it touches the
cluster; verification settles it to what the revision that runs really takes; observed absence releases
it. Each line also counts in the usage of its (team, cluster, SKU), which is never changed in any other
way, so team, cluster and global totals are sums over a few rows.

Money is charged by the microsecond and never rounded to the cent: only dividing by the seconds of an hour is inexact,
by less than 1e-12 dollars a charge. So the accounts of workloads and the usage that policy counts in say the same to
the cent after billions of charges.

Locks, always in this order, so that there is no deadlock: (1) the workload's row, by the caller;
(2) the scopes that the matching rules count in, sorted; (3) usage rows, sorted; (4) the audit
shard. Teams that share no rule share no lock: a scope is locked only when a rule counts in it.
"""

import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.models.amounts import NOTHING, Amounts
from shared.policy.facts import ScopeUsage
from shared.policy.vocabulary import CountingScope, ScopeKind
from shared.store.rows import AMOUNT_COLUMNS, amounts_from, amounts_to_columns
from shared.store.tables import reservations, usage, workload_costs

_LOCK = sa.text("SELECT pg_advisory_xact_lock(key) FROM unnest(CAST(:keys AS bigint[])) AS key")
MONTH_START = sa.func.date_trunc("month", sa.func.now(), "UTC")

# What a workload's lines have cost since they were last charged, split at the ends of calendar months in UTC.
_CHARGE = sa.text("""
    WITH due AS MATERIALIZED (
        SELECT accrued_at AT TIME ZONE 'UTC' AS since, usd_per_hour FROM reservations
         WHERE workload_id = :workload AND cluster = :cluster
    ), charged AS (
        UPDATE reservations SET accrued_at = now() WHERE workload_id = :workload AND cluster = :cluster
    )
    INSERT INTO workload_costs (workload_id, month, usd)
    SELECT :workload, first,
           sum(usd_per_hour * extract(epoch FROM least(now() AT TIME ZONE 'UTC', first + interval '1 month')
                                                 - greatest(since, first)) / 3600)
      FROM due, generate_series(date_trunc('month', since), now() AT TIME ZONE 'UTC', interval '1 month') AS m (first)
     GROUP BY first
    ON CONFLICT (workload_id, month) DO UPDATE SET usd = workload_costs.usd + excluded.usd, updated_at = now()
""")


def hours_since(since: sa.ColumnElement[datetime]) -> sa.ColumnElement[Any]:
    """As a number, up to now."""
    return sa.cast(sa.extract("epoch", sa.func.now() - since), sa.Numeric) / 3600


def accrued() -> sa.ColumnElement[Any]:
    """What a usage row has cost since the month began: what is written down, and what ran up since."""
    this_month = usage.c.accrued_at >= MONTH_START
    running = usage.c.usd_per_hour * hours_since(sa.func.greatest(usage.c.accrued_at, MONTH_START))
    return sa.case((this_month, usage.c.accrued_usd), else_=sa.literal(0)) + running


def _held_by(table: sa.Table, month: sa.ColumnElement[Any], *where: sa.ColumnElement[bool]) -> sa.Select[Any]:
    sums = [sa.func.sum(table.c[name]).label(name) for name in AMOUNT_COLUMNS]
    lines = sa.select(table.c.sku, *sums, sa.func.sum(month).label("month"))
    return lines.where(*where).group_by(table.c.sku)


def held_by_scope(*where: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """A row for each SKU in a scope; month: what it has cost this month."""
    return _held_by(usage, accrued(), *where)


def held_by_workload(key: sa.ColumnElement[Any]) -> sa.CompoundSelect[Any]:
    """The same for a workload, and a row without a SKU for what it was charged this month."""
    since = sa.func.greatest(reservations.c.accrued_at, MONTH_START)
    lines = _held_by(reservations, reservations.c.usd_per_hour * hours_since(since), reservations.c.workload_id == key)
    nothing: list[sa.ColumnElement[Any]] = [sa.literal_column("0").label(name) for name in AMOUNT_COLUMNS]
    charged = sa.select(sa.null().cast(sa.Text), *nothing, workload_costs.c.usd).where(
        workload_costs.c.workload_id == key,
        workload_costs.c.month == sa.cast(sa.func.timezone("UTC", MONTH_START), sa.Date),
    )
    return lines.union_all(charged)


# Built once: putting one together costs more than PostgreSQL needs to answer it.
_USAGE: Mapping[ScopeKind, sa.Select[Any] | sa.CompoundSelect[Any]] = {
    ScopeKind.WORKLOAD: held_by_workload(sa.bindparam("key", type_=sa.Uuid(as_uuid=False))),
    ScopeKind.TEAM: held_by_scope(usage.c.team == sa.bindparam("key")),
    ScopeKind.CLUSTER: held_by_scope(usage.c.cluster == sa.bindparam("key")),
    ScopeKind.GLOBAL: held_by_scope(),
}


Changes = dict[tuple[str, str, str], Amounts]
"""What usage grows by, for each (team, cluster, GPU SKU)."""


@dataclass(frozen=True)
class Reservation:
    """The lines that one workload holds on one cluster, by GPU SKU."""

    workload_id: uuid.UUID
    cluster: str
    team: str
    lines: Mapping[str, Amounts]


@dataclass(frozen=True)
class Ledger:
    """The ledger, inside one transaction."""

    connection: sa.Connection

    def lock_scopes(self, scopes: Iterable[CountingScope]) -> None:
        """Waits for every other transaction that counts in one of these scopes, and keeps them out until the commit.

        Sorted by the number that is locked, not by name: two names may share a number.
        """
        numbers = sorted({_lock_number(scope) for scope in scopes})
        if numbers:
            self.connection.execute(_LOCK, {"keys": numbers})

    def usage(self, scope: CountingScope) -> ScopeUsage:
        """Everything reserved, approved and running in a scope, and what it has cost this month."""
        statement, key = _USAGE[scope.kind], None if scope.kind is ScopeKind.GLOBAL else scope.key
        lines: dict[str, Amounts] = {}
        month = Decimal(0)
        for row in self.connection.execute(statement, {} if key is None else {"key": key}).mappings():
            month += row["month"]
            if row["sku"] is not None:
                lines[row["sku"]] = amounts_from(row)
        return ScopeUsage(lines, month)

    def reserved(self, workload_id: uuid.UUID, cluster: str) -> dict[str, Amounts]:
        """The lines that a workload holds on a cluster."""
        statement = sa.select(reservations).where(
            reservations.c.workload_id == workload_id, reservations.c.cluster == cluster
        )
        return {row["sku"]: amounts_from(row) for row in self.connection.execute(statement).mappings()}

    def held(self, workload_id: uuid.UUID) -> dict[str, dict[str, Amounts]]:
        """The lines that a workload holds, by cluster."""
        found: dict[str, dict[str, Amounts]] = {}
        statement = sa.select(reservations).where(reservations.c.workload_id == workload_id)
        for row in self.connection.execute(statement).mappings():
            found.setdefault(row["cluster"], {})[row["sku"]] = amounts_from(row)
        return found

    def leave(self, workload_id: uuid.UUID, team: str, cluster: str) -> None:
        """Releases what a workload holds on any cluster but this one: a plan that never ran there may have held it."""
        statement = (
            sa.select(reservations.c.cluster)
            .where(reservations.c.workload_id == workload_id, reservations.c.cluster != cluster)
            .distinct()
        )
        others = self.connection.execute(statement).scalars().all()
        self.settle([(Reservation(workload_id, other, team, {}), workload_id) for other in others])

    def hold(self, reservation: Reservation, plan_id: uuid.UUID, expires_at: datetime) -> None:
        """Holds exactly these lines for a plan that was approved, until it is executed or `expires_at`."""
        changes = self._replace(reservation, plan_id, expires_at)
        self._count(changes)

    def commit(self, plan_id: uuid.UUID, now: datetime) -> bool:
        """Commits a plan's reservation before it is executed. False if it is gone, or its hold expired."""
        statement = (
            reservations.update()
            .where(
                reservations.c.plan_id == plan_id,
                sa.or_(reservations.c.state == "committed", reservations.c.expires_at > now),
            )
            .values(state="committed", expires_at=None)
        )
        return self.connection.execute(statement).rowcount > 0

    def settle(self, settlements: Sequence[tuple[Reservation, uuid.UUID]]) -> None:
        """Makes each reservation exactly what runs, for the plan that it runs for; no lines release it."""
        changes: Changes = {}
        for reservation, plan_id in settlements:
            for key, change in self._replace(reservation, plan_id, None).items():
                changes[key] = changes.get(key, NOTHING) + change
        self._count(changes)

    def _replace(self, reservation: Reservation, plan_id: uuid.UUID, expires_at: datetime | None) -> Changes:
        before = self.reserved(reservation.workload_id, reservation.cluster)
        if before:
            self.connection.execute(_CHARGE, {"workload": reservation.workload_id, "cluster": reservation.cluster})
        mine = (reservations.c.workload_id == reservation.workload_id, reservations.c.cluster == reservation.cluster)
        if gone := before.keys() - reservation.lines.keys():
            self.connection.execute(reservations.delete().where(*mine, reservations.c.sku.in_(sorted(gone))))
        state = "held" if expires_at else "committed"
        for sku, amounts in sorted(reservation.lines.items()):
            if expires_at is None and before.get(sku) == amounts:
                continue
            row = {
                **amounts_to_columns(amounts),
                "plan_id": plan_id,
                "state": state,
                "expires_at": expires_at,
                "accrued_at": sa.func.now(),
            }
            key = {"workload_id": reservation.workload_id, "cluster": reservation.cluster, "sku": sku}
            statement = insert(reservations).values(**key, team=reservation.team, **row)
            self.connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["workload_id", "cluster", "sku"], set_={**row, "updated_at": sa.func.now()}
                )
            )
        return {
            (reservation.team, reservation.cluster, sku): reservation.lines.get(sku, NOTHING) - before.get(sku, NOTHING)
            for sku in before.keys() | reservation.lines.keys()
        }

    def _count(self, changes: Changes) -> None:
        for (team, cluster, sku), change in sorted(changes.items()):
            if change == NOTHING:
                continue
            columns = amounts_to_columns(change)
            statement = insert(usage).values(team=team, cluster=cluster, sku=sku, **columns)
            added = {name: usage.c[name] + statement.excluded[name] for name in columns}
            added |= {"accrued_usd": accrued(), "accrued_at": sa.func.now()}
            self.connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["team", "cluster", "sku"], set_={**added, "updated_at": sa.func.now()}
                )
            )


def _lock_number(scope: CountingScope) -> int:
    """A signed 64-bit number for PostgreSQL's advisory locks."""
    text = f"sentinel ledger {scope.kind}/{scope.key}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], signed=True)
