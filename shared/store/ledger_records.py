"""The records of the ledger as a whole: what a check compares, and what a repair of usage writes."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.models.amounts import NOTHING, Amounts
from shared.models.lifecycle import LIVE_REVISIONS, PLANS_UNDER_WAY
from shared.models.reservation import Reservation, UsageKey
from shared.store.ledger import accrued
from shared.store.rows import AMOUNT_COLUMNS, amounts_from, amounts_to_columns
from shared.store.tables import action_plans, deployments, reservations, usage, workloads

_KEY = ("team", "cluster", "sku")


@dataclass(frozen=True)
class ReservedLine:
    """One line of a reservation, and the plan that it is reserved for."""

    workload_id: uuid.UUID
    plan_id: uuid.UUID
    cluster: str
    sku: str
    amounts: Amounts


@dataclass(frozen=True)
class LedgerRecordRows:
    """Reservations and usage, inside one transaction."""

    connection: sa.Connection

    def workloads_with_accounts(self, after: uuid.UUID, limit: int) -> Sequence[uuid.UUID]:
        """The next workloads, by id, that have a reservation, a live revision, or a plan that needs a reservation."""
        own = workloads.c.id
        concerned = sa.or_(
            sa.exists().where(reservations.c.workload_id == own),
            sa.exists().where(deployments.c.workload_id == own, deployments.c.status.in_(LIVE_REVISIONS)),
            sa.exists().where(action_plans.c.id == workloads.c.plan_id, action_plans.c.status.in_(PLANS_UNDER_WAY)),
        )
        statement = sa.select(own).where(own > after, concerned).order_by(own).limit(limit)
        return self.connection.execute(statement).scalars().all()

    def lines_of(self, workload_ids: Collection[uuid.UUID]) -> list[ReservedLine]:
        """Every line of these workloads."""
        statement = sa.select(reservations).where(reservations.c.workload_id.in_(workload_ids))
        return [
            ReservedLine(row["workload_id"], row["plan_id"], row["cluster"], row["sku"], amounts_from(row))
            for row in self.connection.execute(statement).mappings()
        ]

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

    def _totals(self, table: sa.Table) -> dict[UsageKey, Amounts]:
        columns = [table.c[name] for name in _KEY]
        sums = [sa.func.sum(table.c[name]).label(name) for name in AMOUNT_COLUMNS]
        found = self.connection.execute(sa.select(*columns, *sums).group_by(*columns)).mappings()
        return {UsageKey(row["team"], row["cluster"], row["sku"]): amounts_from(row) for row in found}


def _is(table: sa.Table, key: UsageKey) -> sa.ColumnElement[bool]:
    return sa.and_(*(table.c[name] == value for name, value in key._asdict().items()))
