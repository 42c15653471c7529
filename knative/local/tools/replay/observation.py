"""What the store says of a replay: changed workloads while it runs, and its totals at the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from knative.local.tools.replay.lifecycles import LifecycleObservation
from shared.store.tables import dead_letters, policy_decisions, reservations, usage, workloads

_OVERLAP = timedelta(seconds=2)
_SWEEP_SECONDS = 10.0


class WorkloadWatcher:
    """Reads workloads as they change: one query for all of them.

    A row's `updated_at` is the start of its transaction, so a row may turn up after one that is newer: usually by a
    little, for which calls overlap, and by any time when a transaction is long, for which everything is read now and
    then.
    """

    def __init__(self, engine: sa.Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._newest: datetime | None = None
        self._swept = clock()

    def changed(self) -> list[LifecycleObservation]:
        """What has changed since the last call, oldest first; some of it may have been returned before."""
        if self._clock() - self._swept > _SWEEP_SECONDS:
            return self.everything()
        return self._read()

    def everything(self) -> list[LifecycleObservation]:
        """Every workload, as it is now."""
        self._newest, self._swept = None, self._clock()
        return self._read()

    def _read(self) -> list[LifecycleObservation]:
        statement = sa.select(workloads.c.id, workloads.c.phase, workloads.c.reason, workloads.c.updated_at)
        if self._newest is not None:
            statement = statement.where(workloads.c.updated_at > self._newest - _OVERLAP)
        with self._engine.connect() as connection:
            rows = connection.execute(statement.order_by(workloads.c.updated_at, workloads.c.id)).all()
        if rows:
            self._newest = rows[-1].updated_at
        return [LifecycleObservation.of(row.id, row.phase, row.reason, row.updated_at) for row in rows]


@dataclass(frozen=True)
class StoreTotals:
    """The store at the end. denials: how many plans each rule of each policy denied."""

    denials: dict[str, int]
    reserved_workloads: int
    reserved_gpus: int
    used_gpus: int
    dead_letters: dict[str, int]


def store_totals(engine: sa.Engine) -> StoreTotals:
    """Counts what the replay left."""
    with engine.connect() as connection:
        broken = connection.execute(
            sa.select(policy_decisions.c.violations).where(policy_decisions.c.approved.is_(False))
        ).scalars()
        denials = Counter(f"{v['rule']} of policy {v['policy']}" for violations in broken for v in violations)
        held = connection.execute(
            sa.select(
                sa.func.count(sa.distinct(reservations.c.workload_id)),
                sa.func.coalesce(sa.func.sum(reservations.c.gpus), 0),
            )
        ).one()
        used = connection.execute(sa.select(sa.func.coalesce(sa.func.sum(usage.c.gpus), 0))).scalar_one()
        letters = connection.execute(
            sa.select(dead_letters.c.type, dead_letters.c.reason, sa.func.count()).group_by(
                dead_letters.c.type, dead_letters.c.reason
            )
        ).all()
    return StoreTotals(
        dict(denials.most_common()),
        int(held[0]),
        int(held[1]),
        int(used),
        {f"{kind}: {reason}": count for kind, reason, count in letters},
    )
