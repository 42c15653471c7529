"""Rollups of telemetry, made again from samples where these have changed, and the partitions of all its tables.

An insert into a table of samples notes what it has touched, in its own transaction. Whoever sees the note sees the
samples, so a rollup that is made after its notes were taken is exact, however late a sample is and whatever the order.
Only one transaction at a time makes rollups: another could overwrite them with what it has read earlier.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from shared.store.telemetry_tables import gpu_minutes, workload_minutes
from shared.telemetry.fields import GPU_FIELDS
from shared.telemetry.rollups import HOURS, LATENCIES, MINUTES, ROLLUPS, SAMPLES, Rollup, rollup_columns

_LOCK = 5_718_243_906_112_574_841


_TABLES = (*SAMPLES, *MINUTES, *HOURS)


@dataclass(frozen=True)
class RollupRows:
    """Rollups, inside one transaction."""

    connection: sa.Connection

    def take_turn(self) -> bool:
        """Whether this transaction makes rollups, until it ends; False while another does."""
        return bool(self.connection.execute(_TAKE_TURN).scalar_one())

    def make(self, rollup: Rollup, now: datetime) -> set[str]:
        """Makes what is due of a rollup, oldest first; of which nodes or workloads that was."""
        values = {"rollup": rollup.table, "before": now - rollup.rest, "most": rollup.most}
        due = self.connection.execute(_DUE, values).all()
        if not due:
            return set()
        starts, clusters, subjects = (list(column) for column in zip(*due, strict=True))
        self._make_partitions((rollup.table,), sorted({start.date() for start in starts}))
        taken = {"rollup": rollup.table, "starts": starts, "clusters": clusters, "subjects": subjects}
        if rollup.longer is not None:
            self.connection.execute(_NOTE_LONGER, {**taken, "longer": rollup.longer})
        self.connection.execute(_MAKE[rollup.table], taken)
        return set(subjects)

    def make_partitions_ahead(self, now: datetime) -> None:
        """Makes the partitions of every table for today and tomorrow, UTC."""
        self._make_partitions(_TABLES, [now, now + timedelta(days=1)])

    def drop_partitions(self, before: Mapping[str, datetime]) -> bool:
        """Drops the partitions of tables that end before a moment; whether there were any.

        None is dropped while rollups lag behind: samples that were noted long ago are not in them yet.
        """
        values = {"tables": list(before), "before": list(before.values()), "lag": _LAG}
        return bool(self.connection.execute(_DROP, values).scalar_one())

    def forget(self, before: datetime) -> None:
        """Forgets agents that have told nothing since, and counts of samples that were not stored."""
        for statement in _FORGET:
            self.connection.execute(statement, {"before": before})

    def _make_partitions(self, tables: tuple[str, ...], moments: list[datetime]) -> None:
        values = {"tables": list(tables), "moments": [str(moment) for moment in moments]}
        self.connection.execute(_MAKE_PARTITIONS, values)


_LAG = timedelta(hours=1)
_TAKE_TURN = sa.text(f"SELECT pg_try_advisory_xact_lock({_LOCK})")
_DUE = sa.text("""
    SELECT DISTINCT starts_at, cluster, subject FROM pending_rollups
     WHERE rollup = :rollup AND starts_at <= :before
     ORDER BY starts_at, cluster, subject LIMIT :most
""").columns(starts_at=sa.DateTime(timezone=True))
_MAKE_PARTITIONS = sa.text("""
    SELECT make_partition(name, CAST(moment AS timestamptz))
      FROM unnest(CAST(:tables AS text[])) AS name, unnest(CAST(:moments AS text[])) AS moment
""")
_DROP = sa.text("""
    SELECT sum(drop_partitions(name, before))
      FROM unnest(CAST(:tables AS text[]), CAST(:before AS timestamptz[])) AS kept(name, before)
     WHERE NOT EXISTS (SELECT FROM pending_rollups WHERE noted_at < now() - CAST(:lag AS interval))
""")
_FORGET = (
    sa.text("DELETE FROM agents WHERE contacted_at < :before"),
    sa.text("DELETE FROM dropped_samples WHERE updated_at < :before"),
)
_TAKEN = """unnest(CAST(:starts AS timestamptz[]), CAST(:clusters AS text[]), CAST(:subjects AS text[]))
        AS due(starts_at, cluster, subject)"""
_NOTE_LONGER = sa.text(f"""
    INSERT INTO pending_rollups (rollup, cluster, subject, starts_at)
    SELECT DISTINCT CAST(:longer AS text), due.cluster, due.subject, date_trunc('hour', due.starts_at, 'UTC')
      FROM {_TAKEN}
     WHERE NOT EXISTS (
        SELECT FROM pending_rollups AS noted
         WHERE noted.rollup = :longer AND noted.starts_at = date_trunc('hour', due.starts_at, 'UTC')
           AND noted.cluster = due.cluster AND noted.subject = due.subject)
""")  # noqa: S608 - constants
_WITHOUT_NOTES = f"""
    WITH due AS MATERIALIZED (SELECT * FROM {_TAKEN}), taken AS (
        DELETE FROM pending_rollups AS noted USING due
         WHERE noted.rollup = :rollup AND noted.starts_at = due.starts_at
           AND noted.cluster = due.cluster AND noted.subject = due.subject
    )
"""  # noqa: S608 - constants


def _make(rollup: Rollup, key: str, columns: tuple[str, ...], samples: str) -> sa.TextClause:
    """The statement that takes the notes and makes their rollups. samples: the grouped rows of one of `due`."""
    names = ", ".join(columns)
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns)
    return sa.text(f"""
        {_WITHOUT_NOTES}
        INSERT INTO {rollup.table} ({key}, starts_at, {names})
        SELECT {key}, due.starts_at, {names} FROM due CROSS JOIN LATERAL ({samples}) AS found
        ON CONFLICT ({key}, starts_at) DO UPDATE SET {changed}
    """)  # noqa: S608 - constants


def _of_gpus(rollup: Rollup) -> sa.TextClause:
    aggregates = {"mean": "avg", "max": "max"}
    fields = (f"{aggregates[one.aggregate]}({one.field}) AS {one.name}" for one in rollup_columns(GPU_FIELDS))
    samples = f"""
        SELECT node, gpu, count(*) AS samples, count(containers) AS allocated_samples,
               {_newest("workload_id", "workload_id IS NOT NULL")}, {_newest("product", "product <> ''")},
               {_newest("parent", "true")}, {_newest("profile", "true")}, {", ".join(fields)}
          FROM gpu_samples AS sample
         WHERE sample.cluster = due.cluster AND sample.node = due.subject
           AND sample.observed_at >= due.starts_at AND sample.observed_at < due.starts_at + interval '1 {rollup.unit}'
         GROUP BY node, gpu
    """  # noqa: S608 - constants
    return _make(rollup, "cluster, node, gpu", _made(gpu_minutes, "cluster", "node", "gpu"), samples)


def _of_workloads(rollup: Rollup) -> sa.TextClause:
    latencies = (
        f"coalesce(sum({latency} * coalesce(requests, 1)), 0) AS {latency},"
        f" coalesce(sum(coalesce(requests, 1)) FILTER (WHERE {latency} IS NOT NULL), 0) AS {weight}"
        for latency, weight in LATENCIES.values()
    )
    samples = f"""
        SELECT workload_id, count(*) AS samples, max(received_at) AS newest_at, count(up) AS up_samples,
               coalesce(sum(up), 0) AS up, coalesce(sum(requests), 0) AS requests, coalesce(sum(errors), 0) AS errors,
               {", ".join(latencies)}
          FROM workload_samples AS sample
         WHERE sample.workload_id = CAST(due.subject AS uuid)
           AND sample.received_at >= due.starts_at AND sample.received_at < due.starts_at + interval '1 {rollup.unit}'
         GROUP BY workload_id
    """  # noqa: S608 - constants
    return _make(rollup, "workload_id", _made(workload_minutes, "workload_id"), samples)


def _newest(column: str, condition: str) -> str:
    return f"(array_agg({column} ORDER BY observed_at DESC) FILTER (WHERE {condition}))[1] AS {column}"


def _made(table: sa.Table, *key: str) -> tuple[str, ...]:
    return tuple(column.name for column in table.columns if column.name not in (*key, "starts_at"))


_MAKE = {one.table: (_of_gpus if one.table.startswith("gpu") else _of_workloads)(one) for one in ROLLUPS}
