"""The tables of telemetry: samples as they came, and their rollups by the minute and by the hour.

Samples and rollups are partitioned by time: samples and minutes by days, hours by months (UTC). The partitions are in
the schema `partitions`, which the application's role cannot reach. It makes and drops them with the functions
`make_partition(table, moment)` and `drop_partitions(table, before)`, which belong to the owner. Retention drops whole
partitions; see shared.models.retention.

A GPU, or a MIG instance, is known by `cluster`, `node` and `gpu` (the UUID that NVML gives it). A sample is known by
that and `observed_at`, a sample of a workload by `workload_id` and `observed_at`. That is the natural key: what comes
twice is stored once.

Each insert into a table of samples notes, by a trigger, the minutes that it has touched in `pending_rollups`. The tick
makes these minutes again from their samples, and so the hours; see shared.store.rollups.

`gpu_minutes` and `gpu_hours` have the same columns, one row for each GPU and minute or hour in which it was sampled:

| column                    | what it holds                                                                  |
|---------------------------|--------------------------------------------------------------------------------|
| starts_at                 | when the minute or hour began, UTC                                             |
| samples                   | how many samples there are                                                     |
| allocated_samples         | how many of them say that a container has been given the GPU                   |
| workload_id               | the workload that had it last, of those that Sentinel knows; NULL for none     |
| product, parent, profile  | what the last sample says; NULL for what it does not say                       |
| <field>_mean, <field>_max | the mean and the maximum over the samples that have the field; NULL for none   |

A minute is there some 20 s after its end, an hour some 3 min. Those that late samples touch are made again. The column
`rollup` of gpu_fields.csv says which fields are kept, and how: for example `utilization_percent_mean`.

`workload_minutes` and `workload_hours` are by the time at which PostgreSQL received the samples. Policy decides on
them, and the clock that observed the samples may be wrong. Samples that Sentinel has collected from Prometheus are of
PostgreSQL's clock, and count as received when they were taken. These rollups hold sums, so that rows add up:

| column               | what it holds                                                                         |
|----------------------|---------------------------------------------------------------------------------------|
| samples              | how many samples there are                                                            |
| newest_at            | when the newest was received                                                          |
| up_samples, up       | how many samples have `up`, and its sum                                               |
| requests, errors     | sums                                                                                  |
| latency_p<n>_seconds | the sum of the latencies, each times its requests; times 1 where it does not say      |
| latency_p<n>_weight  | the sum of what the latencies were multiplied by                                      |
"""

from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Double, Index, Integer, SmallInteger, Table, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import ARRAY

from shared.store.tables import metadata
from shared.telemetry.fields import GPU_FIELDS, WORKLOAD_FIELDS
from shared.telemetry.rollups import LATENCIES, rollup_columns


def _moment(name: str, *, nullable: bool = False, **how: Any) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=nullable, **how)


def _now(name: str) -> Column[Any]:
    return _moment(name, server_default=func.now())


def _text(name: str, *, nullable: bool = False, default: str | None = None) -> Column[Any]:
    return Column(name, Text, nullable=nullable, server_default=default)


def _key(name: str, kind: Any = Text) -> Column[Any]:
    return Column(name, kind, primary_key=True)


def _count(name: str, *, default: str | None = None) -> Column[Any]:
    return Column(name, Integer, nullable=False, server_default=None if default is None else text(default))


def _measured(names: Any) -> tuple[Column[Any], ...]:
    return tuple(Column(name, Double) for name in names)


def _starts() -> Column[Any]:
    return Column("starts_at", DateTime(timezone=True), primary_key=True)


gpu_samples = Table(
    "gpu_samples",
    metadata,
    _key("cluster"),
    _key("node"),
    Column("observed_at", DateTime(timezone=True), primary_key=True),
    _key("gpu"),
    _now("received_at"),
    Column("index", SmallInteger, nullable=False),
    _text("product"),
    _text("state"),
    _text("parent", nullable=True),
    _text("profile", nullable=True),
    # Each as namespace/pod/container.
    Column("containers", ARRAY(Text)),
    # Of the first container whose workload Sentinel knows.
    Column("workload_id", Uuid),
    *_measured(GPU_FIELDS),
    postgresql_partition_by="RANGE (observed_at)",
)

workload_samples = Table(
    "workload_samples",
    metadata,
    _key("workload_id", Uuid),
    Column("observed_at", DateTime(timezone=True), primary_key=True),
    _now("received_at"),
    *_measured(WORKLOAD_FIELDS),
    Index(None, "workload_id", "received_at"),
    postgresql_partition_by="RANGE (observed_at)",
)


def _gpu_rollup(name: str) -> Table:
    return Table(
        name,
        metadata,
        *(_key(column) for column in ("cluster", "node", "gpu")),
        _starts(),
        _count("samples"),
        _count("allocated_samples"),
        Column("workload_id", Uuid),
        *(_text(column, nullable=True) for column in ("product", "parent", "profile")),
        *_measured(one.name for one in rollup_columns(GPU_FIELDS)),
        # Without it, a search among all GPUs would read whole partitions.
        Index(None, "starts_at"),
        postgresql_partition_by="RANGE (starts_at)",
    )


def _workload_rollup(name: str) -> Table:
    return Table(
        name,
        metadata,
        _key("workload_id", Uuid),
        _starts(),
        _count("samples"),
        _moment("newest_at"),
        _count("up_samples"),
        *(Column(column, Double, nullable=False) for column in ("up", "requests", "errors")),
        *(Column(column, Double, nullable=False) for latency in LATENCIES.values() for column in latency),
        postgresql_partition_by="RANGE (starts_at)",
    )


gpu_minutes = _gpu_rollup("gpu_minutes")
gpu_hours = _gpu_rollup("gpu_hours")
workload_minutes = _workload_rollup("workload_minutes")
workload_hours = _workload_rollup("workload_hours")

# Rows of `rollup`, a table's name, that are to be made again. subject: a node, or the id of a workload, whose cluster
# is empty. A row may be there many times.
pending_rollups = Table(
    "pending_rollups",
    metadata,
    _text("rollup"),
    _text("cluster"),
    _text("subject"),
    _moment("starts_at"),
    _now("noted_at"),
    Index(None, "rollup", "starts_at", "cluster", "subject"),
)

# What each node has told of itself. Each event of a node updates its row. observed_at: of its newest sample.
# previous_at: what observed_at was before the last event. readings: how many samples of the node are in the minute of
# observed_at. pods: those with GPUs, as namespace/name. workloads: to whom these pods belong, in the same order.
agents = Table(
    "agents",
    metadata,
    _key("cluster"),
    _key("node"),
    _text("state"),
    _text("driver", nullable=True),
    _moment("observed_at", nullable=True),
    _moment("previous_at", nullable=True),
    *(
        Column(name, ARRAY(kind), nullable=False, server_default=text("'{}'"))
        for name, kind in (("pods", Text), ("workloads", Uuid))
    ),
    _count("readings", default="1"),
    _now("contacted_at"),
    _now("created_at"),
    _now("updated_at"),
)

# Samples that were not stored. kind: gpu, whose subject is cluster/node, or workload, whose subject is its id. reason:
# see shared.models.telemetry.Dropped.
dropped_samples = Table(
    "dropped_samples",
    metadata,
    _key("kind"),
    _key("subject"),
    _key("reason"),
    Column("samples", BigInteger, nullable=False),
    _now("created_at"),
    _now("updated_at"),
    Index(None, "updated_at"),
)
