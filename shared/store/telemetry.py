"""Samples of GPUs and workloads, what their agents have told, and what was not stored.

An event of a node is one COPY. The row of its agent is locked first, so no other event of the node is stored meanwhile:
a sample that is newer than the node's newest cannot be there already. Any other is inserted where it is not.
"""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.models.sweep import Key
from shared.models.telemetry import Dropped, NodeSample, WorkloadSample
from shared.store import gpu_copy
from shared.store.telemetry_tables import dropped_samples
from shared.telemetry.fields import WORKLOAD_FIELDS

_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Arrival:
    """What is known of a node when a sample of it arrives. now: PostgreSQL's clock.

    previous_at: when its newest sample before was taken; None for its first. readings: how many samples of it are in
    the minute of its newest, this one included where it is the newest. workloads: of the pods that had its GPUs, as far
    as was asked before.
    """

    previous_at: datetime | None
    readings: int
    workloads: Mapping[Key, uuid.UUID]
    now: datetime


@dataclass(frozen=True)
class TelemetryRows:
    """Telemetry, inside one transaction."""

    connection: sa.Connection

    def arrive(self, sample: NodeSample, kept: timedelta, ahead: timedelta) -> Arrival:
        """Notes that a node has sent a sample, and locks its row.

        What is older than `kept`, or `ahead` of PostgreSQL's clock by more than that, says nothing of the node but that
        it is in contact.
        """
        values = {
            "cluster": sample.cluster,
            "node": sample.node,
            "state": sample.state,
            "driver": sample.driver,
            "observed_at": sample.observed_at,
            "kept": kept,
            "ahead": ahead,
        }
        row = self.connection.execute(_ARRIVE, values).one()
        keys = (tuple(pod.split("/", 1)) for pod in row.pods.splitlines())
        workloads = dict(zip(keys, map(uuid.UUID, row.workloads.splitlines()), strict=True))
        return Arrival(row.previous_at, row.readings, workloads, row.now)

    def remember_workloads(self, cluster: str, node: str, workloads: Mapping[Key, uuid.UUID]) -> None:
        """Notes which workloads the pods on a node belong to, for its next samples."""
        pods = ["/".join(key) for key in workloads]
        values = {"cluster": cluster, "node": node, "pods": pods, "workloads": list(workloads.values())}
        self.connection.execute(_REMEMBER_WORKLOADS, values)

    def make_partitions(self, table: str, moments: Iterable[datetime]) -> None:
        """Makes the partitions of a table for these moments, where there are none yet."""
        for day in sorted({moment.astimezone(UTC).date() for moment in moments}):
            at = datetime(day.year, day.month, day.day, tzinfo=UTC)
            self.connection.execute(_MAKE_PARTITION, {"table": table, "moment": at})

    def copy_gpus(self, sample: NodeSample, workloads: Sequence[uuid.UUID | None]) -> None:
        """Stores a sample whose node has none of that moment. workloads: of its GPUs, in their order."""
        self.connection.exec_driver_sql(_COPY_GPUS, (gpu_copy.encode([(sample, workloads)]),))

    def has_gpus(self, sample: NodeSample) -> bool:
        """Whether every GPU of a sample is stored already."""
        key = {"cluster": sample.cluster, "node": sample.node, "observed_at": sample.observed_at}
        stored = self.connection.execute(_STORED, {**key, "gpus": [one.gpu for one in sample.gpus]}).scalar_one()
        return bool(stored == len(sample.gpus))

    def add_gpus(self, sample: NodeSample, workloads: Sequence[uuid.UUID | None], readings: int) -> bool:
        """Stores what is not there yet of a sample; False, and nothing, when its minute has `readings` others."""
        minute = sample.observed_at.replace(second=0, microsecond=0)
        values = {
            "cluster": sample.cluster,
            "node": sample.node,
            "observed_at": sample.observed_at,
            "minute": minute,
            "end": minute + _MINUTE,
            "most": readings,
            "rows": json.dumps(list(_gpu_rows(sample, workloads))),
        }
        return bool(self.connection.execute(_ADD_GPUS, values).scalar_one())

    def add_workload(self, workload_id: uuid.UUID, samples: Iterable[WorkloadSample]) -> None:
        """Stores the samples of a workload that are not there yet."""
        rows = [{"observed_at": one.observed_at.isoformat(), **one.metrics} for one in samples]
        self.connection.execute(_ADD_WORKLOAD, {"workload": workload_id, "rows": json.dumps(rows)})

    def drop(self, kind: str, subject: str, reason: Dropped, samples: int) -> None:
        """Counts samples that are not stored."""
        values = {"kind": kind, "subject": subject, "reason": reason.value, "samples": samples}
        self.connection.execute(_DROP, values)


_ARRIVE = sa.text("""
    INSERT INTO agents AS agent (cluster, node, state, driver, observed_at)
    SELECT :cluster, :node, :state, :driver, CASE WHEN at BETWEEN now() - CAST(:kept AS interval)
                                                              AND now() + CAST(:ahead AS interval) THEN at END
      FROM (SELECT CAST(:observed_at AS timestamptz) AS at) AS sample
    ON CONFLICT (cluster, node) DO UPDATE
       SET state = CASE WHEN excluded.observed_at = greatest(agent.observed_at, excluded.observed_at)
                        THEN excluded.state ELSE agent.state END,
           driver = CASE WHEN excluded.observed_at = greatest(agent.observed_at, excluded.observed_at)
                         THEN excluded.driver ELSE agent.driver END,
           previous_at = agent.observed_at,
           observed_at = greatest(agent.observed_at, excluded.observed_at),
           readings = CASE WHEN date_trunc('minute', excluded.observed_at) > date_trunc('minute', agent.observed_at)
                           THEN 1
                           WHEN excluded.observed_at > agent.observed_at THEN agent.readings + 1
                           ELSE agent.readings END,
           contacted_at = now(), updated_at = now()
    RETURNING previous_at, readings, array_to_string(pods, chr(10)) AS pods,
              array_to_string(workloads, chr(10)) AS workloads, now() AS now
""").columns(previous_at=sa.DateTime(timezone=True), now=sa.DateTime(timezone=True))  # the driver reads arrays slowly
_REMEMBER_WORKLOADS = sa.text("""
    UPDATE agents SET pods = CAST(:pods AS text[]), workloads = CAST(:workloads AS uuid[])
     WHERE cluster = :cluster AND node = :node
""")
_MAKE_PARTITION = sa.text("SELECT make_partition(:table, CAST(:moment AS timestamptz))")

_NAMES = ", ".join(gpu_copy.COLUMNS)
_COPY_GPUS = f"COPY gpu_samples ({_NAMES}) FROM STDIN WITH (FORMAT binary)"
_STORED = sa.text("""
    SELECT count(*) FROM gpu_samples
     WHERE cluster = :cluster AND node = :node AND observed_at = :observed_at AND gpu = ANY(CAST(:gpus AS text[]))
""")
_ADD_GPUS = sa.text(f"""
    WITH taken AS (
        SELECT count(DISTINCT observed_at) < :most AS few FROM gpu_samples
         WHERE cluster = :cluster AND node = :node AND observed_at >= :minute AND observed_at < :end
           AND observed_at <> :observed_at
    ), added AS (
        INSERT INTO gpu_samples ({_NAMES})
        SELECT {_NAMES} FROM json_populate_recordset(CAST(NULL AS gpu_samples), CAST(:rows AS json))
         WHERE (SELECT few FROM taken)
        ON CONFLICT DO NOTHING
    )
    SELECT few FROM taken
""")  # noqa: S608 - constants
_MEASURED = ", ".join(WORKLOAD_FIELDS)
_ADD_WORKLOAD = sa.text(f"""
    INSERT INTO workload_samples (workload_id, observed_at, {_MEASURED})
    SELECT CAST(:workload AS uuid), observed_at, {_MEASURED}
      FROM json_populate_recordset(CAST(NULL AS workload_samples), CAST(:rows AS json))
     ORDER BY observed_at
    ON CONFLICT DO NOTHING
""")  # noqa: S608 - constants
_NEW_DROP = insert(dropped_samples)
_DROP = _NEW_DROP.on_conflict_do_update(
    index_elements=["kind", "subject", "reason"],
    set_={"samples": dropped_samples.c.samples + _NEW_DROP.excluded.samples, "updated_at": sa.func.now()},
)


def _gpu_rows(sample: NodeSample, workloads: Sequence[uuid.UUID | None]) -> Iterable[dict[str, object]]:
    for gpu, workload in zip(sample.gpus, workloads, strict=True):
        yield {
            "cluster": sample.cluster,
            "node": sample.node,
            "observed_at": sample.observed_at.isoformat(),
            "gpu": gpu.gpu,
            "index": gpu.index,
            "product": gpu.product,
            "state": gpu.state,
            "parent": gpu.parent,
            "profile": gpu.profile,
            "containers": [str(one) for one in gpu.containers] or None,
            "workload_id": None if workload is None else str(workload),
            **gpu.metrics,
        }
