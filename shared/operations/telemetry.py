"""Telemetry of GPUs and workloads: what is stored of it, and what is made of that with each tick.

A sample that is too old or in the future, by PostgreSQL's clock, or more than its node may send, is counted and not
stored. The rest of its event is.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.models.telemetry import (
    FUTURE,
    FUTURE_OF_WORKLOADS,
    READINGS_A_MINUTE,
    Dropped,
    timeliness,
)
from shared.telemetry.metrics import SAMPLES_DROPPED
from shared.telemetry.rollups import HOURS, MINUTES, ROLLUPS, SAMPLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shared.models.retention import Retention
    from shared.models.sweep import Key
    from shared.models.telemetry import NodeSample, WorkloadSample
    from shared.store.unit_of_work import UnitOfWork

_GPU_SAMPLES, _WORKLOAD_SAMPLES, _WORKLOAD_MINUTES = "gpu_samples", "workload_samples", "workload_minutes"


def record_node(work: UnitOfWork, sample: NodeSample, kept: timedelta) -> None:
    """Stores a sample of a node, one row for each GPU, once. kept: for how long samples are."""
    arrival = work.telemetry.arrive(sample, kept, FUTURE)
    reason = timeliness(sample.observed_at, arrival.now, kept, FUTURE)
    if reason is not None:
        _drop_node(work, sample, reason)
        return
    previous = arrival.previous_at
    is_newest = previous is None or sample.observed_at > previous
    if not is_newest and work.telemetry.has_gpus(sample):
        return
    if previous is None or previous.date() != sample.observed_at.date():
        work.telemetry.make_partitions(_GPU_SAMPLES, [sample.observed_at])
    workloads = _workloads(work, sample, arrival.workloads)
    if not is_newest:
        stored = work.telemetry.add_gpus(sample, workloads, READINGS_A_MINUTE)
    elif stored := arrival.readings <= READINGS_A_MINUTE:
        work.telemetry.copy_gpus(sample, workloads)
    if not stored:
        _drop_node(work, sample, Dropped.FLOOD)


def record_workload(
    work: UnitOfWork, workload_id: uuid.UUID, samples: Sequence[WorkloadSample], kept: timedelta
) -> None:
    """Stores samples of a workload, each once. kept: for how long samples are."""
    timely = []
    dropped: dict[Dropped, int] = {}
    for sample in samples:
        reason = timeliness(sample.observed_at, work.now, kept, FUTURE_OF_WORKLOADS)
        if reason is None:
            timely.append(sample)
        else:
            dropped[reason] = dropped.get(reason, 0) + 1
    if timely:
        work.telemetry.make_partitions(_WORKLOAD_SAMPLES, [sample.observed_at for sample in timely])
        work.telemetry.add_workload(workload_id, timely)
    for reason, number in sorted(dropped.items()):
        _drop(work, "workload", str(workload_id), reason, number)


def roll_up(work: UnitOfWork, retention: Retention) -> frozenset[uuid.UUID] | None:
    """Makes the rollups that are due, makes partitions ahead, and drops those that were kept long enough.

    A tick does a bounded part of it. Two at once do not hinder each other: the second does nothing, and returns None.
    Returns the workloads that there is new telemetry of.
    """
    if not work.rollups.take_turn():
        return None
    work.rollups.make_partitions_ahead(work.now)
    made = {rollup.table: work.rollups.make(rollup, work.now) for rollup in ROLLUPS}
    ages = ((SAMPLES, retention.samples), (MINUTES, retention.minutes), (HOURS, retention.hours))
    before = {table: work.now - age - _MARGIN for tables, age in ages for table in tables}
    if work.rollups.drop_partitions(before):
        work.rollups.forget(work.now - retention.minutes)
    return frozenset(map(uuid.UUID, made[_WORKLOAD_MINUTES]))


_MARGIN = timedelta(hours=1)
"""A sample that is taken at the last moment is in the rollups before its partition goes."""


def _workloads(work: UnitOfWork, sample: NodeSample, known: Mapping[Key, uuid.UUID]) -> list[uuid.UUID | None]:
    """For each GPU, the workload of its first container whose workload Sentinel knows.

    A pod never changes its workload, so nobody asks again while the node has the same pods.
    """
    pods = {(held.namespace, held.pod) for gpu in sample.gpus for held in gpu.containers}
    if pods - known.keys():
        found = work.deployments.workloads_of_pods(sample.cluster, pods)
        if found != known:
            work.telemetry.remember_workloads(sample.cluster, sample.node, found)
        known = found
    of_gpus = (((held.namespace, held.pod) for held in gpu.containers) for gpu in sample.gpus)
    return [next((known[pod] for pod in of_gpu if pod in known), None) for of_gpu in of_gpus]


def _drop_node(work: UnitOfWork, sample: NodeSample, reason: Dropped) -> None:
    _drop(work, "gpu", f"{sample.cluster}/{sample.node}", reason, len(sample.gpus))


def _drop(work: UnitOfWork, kind: str, subject: str, reason: Dropped, number: int) -> None:
    work.telemetry.drop(kind, subject, reason, number)
    work.measurements.count(SAMPLES_DROPPED, kind, reason.value, number=number)
