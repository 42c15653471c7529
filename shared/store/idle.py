"""GPUs that are allocated and not used, from the rollups of what their agents report."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.models.idle import IdleGpu, IdleRules, IdleWarning
from shared.store.tables import idle_warnings
from shared.telemetry.rollups import ROLLUPS

if TYPE_CHECKING:
    import uuid
    from datetime import datetime

_BY_HOURS = timedelta(hours=3)
"""Windows that are at least this long are read from hours: a sixtieth of the rows."""
_COVERED = 0.9
"""The part of a window that agents must have reported on. A restart of an agent leaves a gap of a minute."""
_UNITS = {"gpu_minutes": timedelta(minutes=1), "gpu_hours": timedelta(hours=1)}
_REST = {one.table: one.rest for one in ROLLUPS}


@dataclass(frozen=True)
class IdleRows:
    """Idle GPUs, inside one transaction."""

    connection: sa.Connection

    def gpus(self, rules: IdleRules, now: datetime, teams: Collection[str] | None = None) -> list[IdleGpu]:
        """The idle GPUs of a window that ends with the newest rollups, by cluster, node and GPU. teams: None for all.

        A GPU is its workload's for all of the window, and the workload holds GPUs still.
        """
        table = "gpu_hours" if rules.window >= _BY_HOURS else "gpu_minutes"
        unit = _UNITS[table]
        until = now - _REST[table]
        units = max(1, int(rules.window / unit))
        least = max(1, int(_COVERED * units))
        values = {
            "since": until - units * unit,
            "newest": until - (units - least + 1) * unit,
            "until": until,
            "least": least,
            "threshold": rules.threshold_percent,
            "teams": None if teams is None else sorted(teams),
        }
        hours = Decimal(rules.window / timedelta(hours=1))
        return [
            IdleGpu(**row._mapping, usd=row.usd_per_hour * hours)
            for row in self.connection.execute(_IDLE[table], values)
        ]

    def warnings(self) -> dict[uuid.UUID, IdleWarning]:
        """What workloads were told, by their ids."""
        rows = self.connection.execute(sa.select(idle_warnings))
        return {row.workload_id: IdleWarning(row.workload_id, row.warned_at, row.plan_id) for row in rows}

    def warn(self, workload_id: uuid.UUID, now: datetime) -> bool:
        """Writes down that a workload is told; False when it was."""
        statement = insert(idle_warnings).values(workload_id=workload_id, warned_at=now)
        return bool(self.connection.execute(statement.on_conflict_do_nothing()).rowcount)

    def plan_reclaim(self, workload_id: uuid.UUID, plan_id: uuid.UUID) -> None:
        """Remembers the plan that takes a workload's GPUs."""
        own = idle_warnings.update().where(idle_warnings.c.workload_id == workload_id)
        self.connection.execute(own.values(plan_id=plan_id))

    def end_warning(self, workload_id: uuid.UUID) -> bool:
        """Forgets what a workload was told; False when somebody else has."""
        own = idle_warnings.delete().where(idle_warnings.c.workload_id == workload_id)
        return bool(self.connection.execute(own).rowcount)


_UNUSED = """workload_id IS NOT NULL AND allocated_samples = samples
                        AND coalesce(utilization_percent_max, 100) <= :threshold"""
"""Whether a rollup says that a workload had the GPU and did not use it."""


def _idle(table: str) -> sa.TextClause:
    """The statement that finds idle GPUs in a table of rollups.

    First the newest rollups show which GPUs may be idle. Then the whole window is read, of these GPUs alone. That
    loses none: an idle GPU lacks at most `units - least` rollups of the window, so it has one of the newest
    `units - least + 1`. Example: of 60 minutes it may lack 6, so it has one of the newest 7.

    The window is read in the order of cluster, node and GPU, in which rollups of one minute are stored. So pages that
    are read for one GPU are still in memory for the next.
    """
    return sa.text(f"""
        WITH held AS (
            SELECT workloads.id AS workload_id, reservations.cluster, workloads.team,
                   concat_ws('/', workloads.team, workloads.namespace, workloads.name) AS workload,
                   sum(reservations.usd_per_hour) / sum(gpus) AS usd_per_hour,
                   CAST(sum(gpus) AS bigint) AS workload_gpus
              FROM reservations JOIN workloads ON workloads.id = reservations.workload_id
             WHERE gpus > 0
               AND (CAST(:teams AS text[]) IS NULL OR workloads.team = ANY(CAST(:teams AS text[])))
             GROUP BY workloads.id, reservations.cluster
        ), unused AS (
            SELECT cluster, node, gpu, workload_id
              FROM {table}
             WHERE starts_at > :newest AND starts_at <= :until
             GROUP BY cluster, node, gpu, workload_id
            HAVING bool_and({_UNUSED})
        ), candidate AS (
            SELECT * FROM unused JOIN held USING (workload_id, cluster) ORDER BY cluster, node, gpu
        )
        SELECT candidate.cluster, candidate.node, candidate.gpu, coalesce(product, '') AS product, profile,
               candidate.workload_id, team, workload, workload_gpus, highest_percent, usd_per_hour
          FROM candidate CROSS JOIN LATERAL (
            SELECT max(product) AS product, max(profile) AS profile, max(utilization_percent_max) AS highest_percent
              FROM {table} AS rollup
             WHERE rollup.cluster = candidate.cluster AND rollup.node = candidate.node AND rollup.gpu = candidate.gpu
               AND starts_at > :since AND starts_at <= :until
            HAVING count(*) >= :least
               AND bool_and({_UNUSED} AND rollup.workload_id = candidate.workload_id)
          ) AS whole
         ORDER BY cluster, node, gpu
    """)  # noqa: S608 - constants


_IDLE = {table: _idle(table) for table in _UNITS}
