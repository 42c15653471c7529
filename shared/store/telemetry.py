"""Samples of GPUs and workloads, what their agents have told, and what was not stored.

The newest samples of many nodes are one COPY. The rows of their agents are locked first, so no other event of these
nodes is stored meanwhile: a sample that is newer than its node's newest cannot be there already. Any other is inserted
where it is not.
"""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.models.collection import CollectedSample
from shared.models.sweep import Key
from shared.models.telemetry import Arrival, Dropped, NodeSample, WorkloadSample
from shared.store import gpu_copy
from shared.store.telemetry_tables import dropped_samples
from shared.telemetry.fields import GPU_FIELDS, WORKLOAD_FIELDS

_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class TelemetryRows:
    """Telemetry, inside one transaction."""

    connection: sa.Connection

    def arrive(self, samples: Sequence[NodeSample], kept: timedelta, ahead: timedelta) -> list[Arrival]:
        """Notes that different nodes have each sent a sample, and locks their rows.

        What is older than `kept`, or `ahead` of PostgreSQL's clock by more than that, says nothing of the node but that
        it is in contact.
        """
        said = [{**_key(one), "state": one.state, "driver": one.driver} for one in samples]
        rows = self.connection.execute(_ARRIVE, {"samples": json.dumps(said), "kept": kept, "ahead": ahead})
        arrived = {(row.cluster, row.node): row for row in rows}
        return [_arrival(one, arrived[one.cluster, one.node]) for one in samples]

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

    def copy_gpus(self, samples: Sequence[tuple[NodeSample, Sequence[uuid.UUID | None]]]) -> None:
        """Stores samples whose nodes have none of their moments, with the workloads of their GPUs in their order."""
        if any(sample.gpus for sample, _ in samples):
            self.connection.exec_driver_sql(_COPY_GPUS, (gpu_copy.encode(samples),))

    def have_gpus(self, samples: Sequence[NodeSample]) -> list[bool]:
        """Of each sample, whether all its GPUs are stored already."""
        if not samples:
            return []
        asked = [
            {"number": number, **_key(one), "gpus": [gpu.gpu for gpu in one.gpus]} for number, one in enumerate(samples)
        ]
        stored = set(self.connection.execute(_STORED, {"samples": json.dumps(asked)}).scalars())
        return [number in stored for number in range(len(samples))]

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

    def add_collected(self, samples: Iterable[CollectedSample]) -> None:
        """Stores samples that Sentinel has collected itself, those that are not there yet.

        Their moments are of PostgreSQL's clock, so they count at these, however late they come.
        """
        rows = [
            {
                "workload_id": str(one.workload_id),
                "observed_at": one.at.isoformat(),
                "received_at": one.at.isoformat(),
                **one.metrics,
            }
            for one in samples
        ]
        self.connection.execute(_ADD_COLLECTED, {"rows": json.dumps(rows)})

    def drop(self, kind: str, subject: str, reason: Dropped, samples: int) -> None:
        """Counts samples that are not stored."""
        values = {"kind": kind, "subject": subject, "reason": reason.value, "samples": samples}
        self.connection.execute(_DROP, values)


_ARRIVE = sa.text("""
    INSERT INTO agents AS agent (cluster, node, state, driver, observed_at)
    SELECT cluster, node, state, driver, CASE WHEN observed_at BETWEEN now() - CAST(:kept AS interval)
                                                                   AND now() + CAST(:ahead AS interval) THEN observed_at
                                         END
      FROM json_to_recordset(CAST(:samples AS json))
           AS sample (cluster text, node text, state text, driver text, observed_at timestamptz)
     ORDER BY cluster, node
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
    RETURNING cluster, node, previous_at, readings, array_to_string(pods, chr(10)) AS pods,
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
    SELECT number
      FROM json_to_recordset(CAST(:samples AS json))
           AS sample (number integer, cluster text, node text, observed_at timestamptz, gpus text[])
     WHERE cardinality(gpus) = (SELECT count(*) FROM gpu_samples AS stored
                                 WHERE stored.cluster = sample.cluster AND stored.node = sample.node
                                   AND stored.observed_at = sample.observed_at AND stored.gpu = ANY(sample.gpus))
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
_ADD_COLLECTED = sa.text(f"""
    INSERT INTO workload_samples (workload_id, observed_at, received_at, {_MEASURED})
    SELECT workload_id, observed_at, received_at, {_MEASURED}
      FROM json_populate_recordset(CAST(NULL AS workload_samples), CAST(:rows AS json))
     ORDER BY workload_id, observed_at
    ON CONFLICT DO NOTHING
""")  # noqa: S608 - constants
_NEW_DROP = insert(dropped_samples)
_DROP = _NEW_DROP.on_conflict_do_update(
    index_elements=["kind", "subject", "reason"],
    set_={"samples": dropped_samples.c.samples + _NEW_DROP.excluded.samples, "updated_at": sa.func.now()},
)


def _key(sample: NodeSample) -> dict[str, str]:
    return {"cluster": sample.cluster, "node": sample.node, "observed_at": sample.observed_at.isoformat()}


def _arrival(sample: NodeSample, row: sa.Row[Any]) -> Arrival:
    keys = (tuple(pod.split("/", 1)) for pod in row.pods.splitlines())
    workloads = dict(zip(keys, map(uuid.UUID, row.workloads.splitlines()), strict=True))
    return Arrival(sample, row.previous_at, row.readings, workloads, row.now)


def _gpu_rows(sample: NodeSample, workloads: Sequence[uuid.UUID | None]) -> Iterable[dict[str, object]]:
    for gpu, workload in zip(sample.gpus, workloads, strict=True):
        yield {
            **_key(sample),
            "gpu": gpu.gpu,
            "index": gpu.index,
            "product": gpu.product,
            "state": gpu.state,
            "parent": gpu.parent,
            "profile": gpu.profile,
            "containers": [str(one) for one in gpu.containers] or None,
            "workload_id": None if workload is None else str(workload),
            **{name: value for name, value in zip(GPU_FIELDS, gpu.metrics, strict=True) if value is not None},
        }
