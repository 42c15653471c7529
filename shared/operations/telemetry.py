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
    from collections.abc import Iterable, Mapping, Sequence

    from shared.models.retention import Retention
    from shared.models.sweep import Key
    from shared.models.telemetry import Arrival, GpuSample, NodeSample, WorkloadReport
    from shared.store.unit_of_work import UnitOfWork

_GPU_SAMPLES, _WORKLOAD_SAMPLES, _WORKLOAD_MINUTES = "gpu_samples", "workload_samples", "workload_minutes"


def record_nodes(work: UnitOfWork, samples: Iterable[NodeSample], kept: timedelta) -> None:
    """Stores samples of nodes, one row for each GPU, once. kept: for how long samples are.

    One sample of each node at a time. Nodes are in order, so two transactions never wait for each other in a circle.
    """
    waiting = sorted(samples, key=lambda one: (one.cluster, one.node, one.observed_at))
    while waiting:
        taken: list[NodeSample] = []
        left: list[NodeSample] = []
        for sample in waiting:
            is_next = not taken or (taken[-1].cluster, taken[-1].node) != (sample.cluster, sample.node)
            (taken if is_next else left).append(sample)
        _record(work, taken, kept)
        waiting = left


def record_workloads(work: UnitOfWork, reports: Iterable[WorkloadReport], kept: timedelta) -> None:
    """Stores samples of workloads, each once. kept: for how long samples are."""
    for report in sorted(reports, key=lambda one: one.workload_id):
        timely = []
        dropped: dict[Dropped, int] = {}
        for sample in report.samples:
            reason = timeliness(sample.observed_at, work.now, kept, FUTURE_OF_WORKLOADS)
            if reason is None:
                timely.append(sample)
            else:
                dropped[reason] = dropped.get(reason, 0) + 1
        if timely:
            work.telemetry.make_partitions(_WORKLOAD_SAMPLES, [sample.observed_at for sample in timely])
            work.telemetry.add_workload(report.workload_id, timely)
        for reason, number in sorted(dropped.items()):
            _drop(work, "workload", str(report.workload_id), reason, number)


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


def _record(work: UnitOfWork, samples: Sequence[NodeSample], kept: timedelta) -> None:
    """Stores samples of different nodes."""
    newest: list[Arrival] = []
    older: list[Arrival] = []
    for arrival in work.telemetry.arrive(samples, kept, FUTURE):
        reason = timeliness(arrival.sample.observed_at, arrival.now, kept, FUTURE)
        if reason is not None:
            _drop_node(work, arrival.sample, reason)
        else:
            (newest if arrival.is_newest else older).append(arrival)
    stored = work.telemetry.have_gpus([one.sample for one in older])
    new = [*newest, *(one for one, is_stored in zip(older, stored, strict=True) if not is_stored)]
    work.telemetry.make_partitions(_GPU_SAMPLES, [one.sample.observed_at for one in new if one.is_of_another_day])
    copied = []
    for arrival, workloads in zip(new, _workloads(work, new), strict=True):
        if not arrival.is_newest:
            is_few = work.telemetry.add_gpus(arrival.sample, workloads, READINGS_A_MINUTE)
        elif is_few := arrival.readings <= READINGS_A_MINUTE:
            copied.append((arrival.sample, workloads))
        if not is_few:
            _drop_node(work, arrival.sample, Dropped.FLOOD)
    work.telemetry.copy_gpus(copied)


def _workloads(work: UnitOfWork, arrivals: Sequence[Arrival]) -> list[list[uuid.UUID | None]]:
    """For each GPU of each sample, the workload of its first container whose workload Sentinel knows.

    A pod never changes its workload, so nobody asks again while a node has the same pods.
    """
    pods = [{(namespace, pod) for gpu in one.sample.gpus for namespace, pod, _ in gpu.containers} for one in arrivals]
    unknown: dict[str, set[Key]] = {}
    for arrival, held in zip(arrivals, pods, strict=True):
        if held - arrival.workloads.keys():
            unknown.setdefault(arrival.sample.cluster, set()).update(held)
    found = {cluster: work.objects.workloads_of_pods(cluster, asked) for cluster, asked in sorted(unknown.items())}
    result = []
    for arrival, held in zip(arrivals, pods, strict=True):
        sample, known = arrival.sample, arrival.workloads
        if held - known.keys():
            known = {pod: workload for pod, workload in found[sample.cluster].items() if pod in held}
            if known != arrival.workloads:
                work.telemetry.remember_workloads(sample.cluster, sample.node, known)
        result.append([_workload(gpu, known) for gpu in sample.gpus])
    return result


def _workload(gpu: GpuSample, known: Mapping[Key, uuid.UUID]) -> uuid.UUID | None:
    for namespace, pod, _ in gpu.containers:
        if (workload := known.get((namespace, pod))) is not None:
            return workload
    return None


def _drop_node(work: UnitOfWork, sample: NodeSample, reason: Dropped) -> None:
    _drop(work, "gpu", f"{sample.cluster}/{sample.node}", reason, len(sample.gpus))


def _drop(work: UnitOfWork, kind: str, subject: str, reason: Dropped, number: int) -> None:
    work.telemetry.drop(kind, subject, reason, number)
    work.measurements.count(SAMPLES_DROPPED, kind, reason.value, number=number)
