"""Breaches of service level objectives: which there are, what each has led to, and whose budgets are due for a look."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.models.faults import ResponseOutcome
from shared.models.slo import Breach, Crossing
from shared.store import responses
from shared.store.rows import Row, one_of
from shared.store.tables import slo_breaches, slo_checks


@dataclass(frozen=True)
class BreachRows:
    """Breaches, inside one transaction."""

    connection: sa.Connection

    def watch(self, workload_ids: Collection[uuid.UUID], now: datetime) -> None:
        """Has the error budgets of workloads looked at from now on."""
        rows = [{"workload_id": one, "due_at": now} for one in sorted(workload_ids)]
        self.connection.execute(insert(slo_checks).values(rows).on_conflict_do_nothing())

    def take_due(self, now: datetime, interval: timedelta, limit: int) -> list[uuid.UUID]:
        """The workloads whose budgets are due, longest ago first; each is due again after the interval."""
        values = {"now": now, "again": now + interval, "most": limit}
        return sorted(self.connection.execute(_TAKE_DUE, values).scalars())

    def unwatch(self, workload_ids: Collection[uuid.UUID]) -> None:
        """Has the error budgets of workloads looked at no more."""
        self.connection.execute(slo_checks.delete().where(slo_checks.c.workload_id.in_(workload_ids)))

    def lasting(self, workload_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, dict[Crossing, Breach]]:
        """The breaches of workloads that are not over."""
        statement = sa.select(slo_breaches).where(
            slo_breaches.c.workload_id.in_(workload_ids), slo_breaches.c.over_at.is_(None)
        )
        found: dict[uuid.UUID, dict[Crossing, Breach]] = {}
        for row in self.connection.execute(statement.order_by(slo_breaches.c.id)):
            breach = _breach(row)
            found.setdefault(breach.workload_id, {})[breach.crossing] = breach
        return found

    def add(self, breach: Breach) -> bool:
        """Writes down that a breach begins; False when one of its crossing lasts."""
        crossing = breach.crossing
        statement = insert(slo_breaches).values(
            id=breach.id,
            workload_id=breach.workload_id,
            policy=breach.policy,
            target=crossing.target,
            factor=crossing.factor,
            long_window=crossing.long,
            short_window=crossing.short,
            burn_rate=breach.burn_rate,
            raised_at=breach.raised_at,
        )
        return self.connection.execute(statement.on_conflict_do_nothing()).rowcount == 1

    def update_rates(self, rates: Mapping[uuid.UUID, float]) -> None:
        """Writes down how fast the budgets of breaches that last burn now."""
        self.connection.execute(_UPDATE_RATES, {"ids": list(rates), "rates": list(rates.values())})

    def end(self, breach_id: uuid.UUID, now: datetime) -> bool:
        """Writes down that a breach is over; False when that was known."""
        lasts = sa.and_(slo_breaches.c.id == breach_id, slo_breaches.c.over_at.is_(None))
        ended = slo_breaches.update().where(lasts).values(over_at=now, updated_at=sa.func.now())
        return self.connection.execute(ended).rowcount == 1

    def lock(self, breach_id: uuid.UUID) -> Breach | None:
        """A breach that nobody else changes until this transaction ends."""
        statement = sa.select(slo_breaches).where(slo_breaches.c.id == breach_id).with_for_update()
        row = self.connection.execute(statement).one_or_none()
        return None if row is None else _breach(row)

    def respond(
        self, breach_id: uuid.UUID, outcome: ResponseOutcome, now: datetime, plan_id: uuid.UUID | None = None
    ) -> None:
        """Writes down what a breach leads to, in place of what was written before."""
        values = {"outcome": outcome, "decided_at": now, "plan_id": plan_id, "updated_at": sa.func.now()}
        self.connection.execute(slo_breaches.update().where(slo_breaches.c.id == breach_id).values(**values))

    def proposals_since(self, workload_id: uuid.UUID, since: datetime) -> int:
        """How many plans breaches have led to for a workload since then. The caller has locked it."""
        return self.connection.execute(_PROPOSALS, {"workload": workload_id, "since": since}).scalar_one()

    def lock_waiting(self, before: datetime, limit: int) -> Mapping[uuid.UUID, Breach]:
        """For each workload, a breach that waits for a plan to end and was not looked at since then; longest ago first.

        Those that another transaction looks at are left out.
        """
        rows = self.connection.execute(_WAITING, {"before": before, "most": limit})
        found: dict[uuid.UUID, Breach] = {}
        for breach in map(_breach, rows):
            found.setdefault(breach.workload_id, breach)
        return found


def _breach(row: Row) -> Breach:
    return Breach(
        row.id,
        row.workload_id,
        row.policy,
        Crossing(row.target, row.factor, row.long_window, row.short_window),
        row.burn_rate,
        row.raised_at,
        row.over_at,
        None if row.outcome is None else ResponseOutcome(row.outcome),
    )


def _take_due() -> sa.Executable:
    due = (
        sa.select(slo_checks.c.workload_id)
        .where(slo_checks.c.due_at <= sa.bindparam("now"))
        .order_by(slo_checks.c.due_at)
        .limit(sa.bindparam("most", type_=sa.Integer))
        .with_for_update(skip_locked=True)
    )
    again = slo_checks.update().where(one_of(slo_checks.c.workload_id, due)).values(due_at=sa.bindparam("again"))
    return again.returning(slo_checks.c.workload_id)


_TAKE_DUE = _take_due()
_UPDATE_RATES = sa.text("""
    UPDATE slo_breaches AS b SET burn_rate = now.rate, updated_at = now()
      FROM unnest(CAST(:ids AS uuid[]), CAST(:rates AS float8[])) AS now (id, rate)
     WHERE b.id = now.id
""")
_PROPOSALS = responses.proposals(slo_breaches)
_WAITING = responses.waiting(slo_breaches, sa.select(slo_breaches))
