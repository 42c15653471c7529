"""Telemetry samples, and the words for what is wrong with a GPU or a node."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping, Sequence
    from datetime import datetime

FUTURE = timedelta(minutes=5)
"""How far the clock of a node may be ahead of PostgreSQL's."""

FUTURE_OF_WORKLOADS = timedelta(days=1)
"""How far the clock of a collector may be ahead: what it reports counts at the time at which it is received."""

READINGS_A_MINUTE = 60
"""How many samples a minute of a node are stored, by the time at which they were taken: one a second."""


class Dropped(StrEnum):
    """Why a sample is counted and not stored."""

    LATE = "late"
    """It was taken before the oldest samples that are kept."""
    FUTURE = "future"
    """It was taken in what is the future for PostgreSQL's clock."""
    FLOOD = "flood"
    """Its node has sent more samples of that minute than are stored."""


def timeliness(observed_at: datetime, now: datetime, kept: timedelta, ahead: timedelta) -> Dropped | None:
    """Why a sample of that moment is not stored, if so. kept: how long samples are kept. ahead: see FUTURE."""
    if observed_at < now - kept:
        return Dropped.LATE
    return Dropped.FUTURE if observed_at > now + ahead else None


class Container(NamedTuple):
    """A container that has been given a GPU, by the names that the kubelet knows."""

    namespace: str
    pod: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.pod}/{self.name}"


class GpuSample(NamedTuple):
    """One GPU, or one MIG instance, at one moment.

    metrics: of the fields in shared/telemetry/gpu_fields.csv, in their order; None for what was not measured.

    A tuple, because it is made in a third of the time, and there is one for each row.
    """

    gpu: str
    index: int  # type: ignore[assignment]  # hides a method of tuples that nothing calls
    product: str
    state: str
    parent: str | None
    profile: str | None
    metrics: tuple[float | None, ...]
    containers: tuple[Container, ...]


class NodeSample(NamedTuple):
    """A node with all its GPUs at one moment of its own clock."""

    cluster: str
    node: str
    observed_at: datetime
    state: str
    driver: str | None
    gpus: Sequence[GpuSample]


@dataclass(frozen=True)
class Arrival:
    """A sample of a node that has arrived, and what was known of the node. now: PostgreSQL's clock.

    previous_at: when its newest sample before was taken; None for its first. readings: how many samples of it are in
    the minute of its newest, this one included where it is the newest. workloads: of the pods (namespace, name) that
    had its GPUs, as far as was asked before.
    """

    sample: NodeSample
    previous_at: datetime | None
    readings: int
    workloads: Mapping[tuple[str, str], uuid.UUID]
    now: datetime

    @property
    def is_newest(self) -> bool:
        """Whether it was taken after all others of its node."""
        return self.previous_at is None or self.sample.observed_at > self.previous_at

    @property
    def is_of_another_day(self) -> bool:
        """Whether it was taken on another day, in UTC, than the newest before."""
        return self.previous_at is None or self.previous_at.date() != self.sample.observed_at.date()


@dataclass(frozen=True)
class WorkloadSample:
    """A workload at one moment of its collector's clock. metrics: by names of shared/telemetry/workload_fields.csv."""

    observed_at: datetime
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class WorkloadReport:
    """Samples of one workload."""

    workload_id: uuid.UUID
    samples: Sequence[WorkloadSample]


def agent_source(cluster: str, node: str) -> str:
    """The event source of the agent of a node."""
    return f"/sentinel/agents/{cluster}/{node}"


class NodeState(StrEnum):
    """How the agent found its node."""

    OK = "ok"
    NO_GPU = "no_gpu"
    DRIVER_MISSING = "driver_missing"
    DRIVER_HUNG = "driver_hung"
    DRIVER_CHANGED = "driver_changed"
    """The driver was replaced while the agent, or the kernel, still has the old one."""


class GpuState(StrEnum):
    """How the agent found a GPU. A lost one has fallen off the bus; a hung one does not answer in time."""

    OK = "ok"
    LOST = "lost"
    HUNG = "hung"


class FaultKind(StrEnum):
    """What is wrong with a GPU or its node."""

    XID = "xid"
    DOUBLE_BIT_ECC = "double_bit_ecc"
    ROW_REMAP_FAILURE = "row_remap_failure"
    NVLINK_DOWN = "nvlink_down"
    THERMAL_THROTTLING = "thermal_throttling"
    POWER_THROTTLING = "power_throttling"
    DEGRADED = "degraded"
    """Slower than its peers under the same load."""
    GPU_LOST = "gpu_lost"
    DRIVER_HUNG = "driver_hung"


class FaultState(StrEnum):
    """A fault is raised once, and cleared once."""

    RAISED = "raised"
    CLEARED = "cleared"


class Blame(StrEnum):
    """Whose fault it is. `pod` is an application error; the other two are hardware."""

    POD = "pod"
    GPU = "gpu"
    NODE = "node"
