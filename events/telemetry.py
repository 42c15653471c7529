"""What nodes and workloads report, and what is wrong with them."""

import operator
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Self

from pydantic import AfterValidator, Field, JsonValue, model_validator

from events.catalogue import CATALOGUE
from shared.eventing.event_types import EventData
from shared.models.fields import Duration, Text, Wire
from shared.models.slo import BreachState
from shared.models.telemetry import Blame, FaultKind, FaultState, GpuState, NodeState
from shared.telemetry import fields
from shared.telemetry.fields import GPU_FIELDS, NODE_FIELDS, WORKLOAD_FIELDS

MAX_SAMPLES = 5_000
MAX_CONTAINERS = 64
"""That share a GPU, or a MIG instance."""
MAX_GPUS = 256
"""Of a node, with the MIG instances: 16 GPUs of 7 instances are 128."""


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("must have a time zone")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be between the years 1 and 9999 in UTC") from None


Moment = Annotated[datetime, AfterValidator(_utc)]


def _within(known: Mapping[str, fields.Field]) -> AfterValidator:
    @lru_cache(maxsize=256)  # a driver measures the same fields each time
    def limits(names: tuple[str, ...]) -> tuple[list[float], list[float]]:
        for name in names:
            if name not in known:
                raise ValueError(f"{name[:60]!r} is not a field; the fields are {', '.join(known)}")
        return [known[name].minimum for name in names], [known[name].maximum for name in names]

    def check(values: dict[str, float]) -> dict[str, float]:
        least, most = limits(tuple(values))
        given = values.values()
        if not (all(map(operator.le, least, given)) and all(map(operator.ge, most, given))):
            for name, value in values.items():
                known[name].check(value)
        return values

    return AfterValidator(check)


class ContainerReference(Wire):
    """A container that has been given a GPU, or a slice of one."""

    namespace: Text
    pod: Text
    container: Text


class GpuSample(Wire):
    """One GPU, or one MIG instance, which has a `parent` and a `profile`.

    index: of the GPU; of the parent for an instance. metrics: by names of shared/telemetry/gpu_fields.csv.
    """

    gpu: Text
    index: Annotated[int, Field(ge=0, lt=MAX_GPUS)]
    product: Text = ""
    state: GpuState = GpuState.OK
    parent: Text | None = None
    profile: Text | None = None
    metrics: Annotated[dict[str, float], _within(GPU_FIELDS)] = Field(default_factory=dict)
    containers: Annotated[tuple[ContainerReference, ...], Field(max_length=MAX_CONTAINERS)] = ()


class WorkloadSample(Wire):
    """One workload at one moment. metrics: by names of shared/telemetry/workload_fields.csv."""

    observed_at: Moment
    metrics: Annotated[dict[str, float], Field(min_length=1), _within(WORKLOAD_FIELDS)]


@CATALOGUE.declare(
    "dev.sentinel.telemetry.gpu.v1",
    outside=True,
    keyed=True,
    example={
        "cluster": "local",
        "node": "gpu-0",
        "observedAt": "2026-01-01T00:00:00Z",
        "state": "ok",
        "driver": "580.95.05",
        "metrics": {"cpu_utilization_percent": 12.5, "load1": 3.2},
        "gpus": [
            {
                "gpu": "GPU-5d2f8a7e-0000-0000-0000-000000000000",
                "index": 0,
                "product": "NVIDIA H100 80GB HBM3",
                "metrics": {"utilization_percent": 87.0, "memory_used_bytes": 42949672960},
                "containers": [{"namespace": "search", "pod": "web-7d9f6c8b5-x2x7k", "container": "main"}],
            }
        ],
    },
)
class TelemetryGpu(EventData):
    """All GPUs of one node at one moment; the subject is the node's name, the source /sentinel/agents/<cluster>/<node>.

    metrics: of the node, by names of shared/telemetry/node_fields.csv.
    """

    cluster: Text
    node: Text
    observed_at: Moment
    state: NodeState = NodeState.OK
    driver: Text | None = None
    metrics: Annotated[dict[str, float], _within(NODE_FIELDS)] = Field(default_factory=dict)
    gpus: Annotated[tuple[GpuSample, ...], Field(max_length=MAX_GPUS)] = ()

    @model_validator(mode="after")
    def _each_gpu_once(self) -> Self:
        if len({one.gpu for one in self.gpus}) < len(self.gpus):
            raise ValueError("gpus: a GPU is there twice")
        whole = [one.index for one in self.gpus if one.parent is None]
        if len(set(whole)) < len(whole):
            raise ValueError("gpus: two GPUs have the same index")
        return self


@CATALOGUE.declare(
    "dev.sentinel.telemetry.workload.v1",
    outside=True,
    keyed=True,
    example={
        "workload": "9403eeb2-8848-53a3-90c2-1095c047864f",
        "samples": [{"observedAt": "2026-01-01T00:00:00Z", "metrics": {"latency_p99_seconds": 0.21}}],
    },
)
class TelemetryWorkload(EventData):
    """A batch of samples of one workload; the subject is the workload's id."""

    workload: uuid.UUID
    samples: Annotated[tuple[WorkloadSample, ...], Field(min_length=1, max_length=MAX_SAMPLES)]


_FAULT: dict[str, JsonValue] = {
    "fault": "0d5c3a52-5f0e-5f43-9c7b-0f6a3d1c2b10",
    "cluster": "local",
    "node": "gpu-0",
    "gpu": "GPU-5d2f8a7e-0000-0000-0000-000000000000",
    "kind": "xid",
    "state": "raised",
    "blame": "gpu",
    "xid": 79,
    "action": "RESET_GPU",
    "observedAt": "2026-01-01T00:00:00Z",
    "message": "XID 79: GPU has fallen off the bus",
    "evidence": {"xid": 79},
    "containers": [{"namespace": "search", "pod": "web-7d9f6c8b5-x2x7k", "container": "main"}],
}


@CATALOGUE.declare("dev.sentinel.gpu.fault.v1", outside=True, example=_FAULT)
class GpuFault(EventData):
    """Something is wrong with a GPU, or with a node where no GPU is named; or it is over. The subject is the node.

    fault: one id for the fault while it lasts: raised and cleared carry the same. action: what NVIDIA says to do.
    """

    fault: uuid.UUID
    cluster: Text
    node: Text
    gpu: Text | None = None
    kind: FaultKind
    state: FaultState
    blame: Blame
    xid: Annotated[int, Field(ge=0, le=65_535)] | None = None
    action: Text | None = None
    observed_at: Moment
    message: str = ""
    evidence: Annotated[dict[Text, float | str], Field(max_length=50)] = Field(default_factory=dict)
    containers: Annotated[tuple[ContainerReference, ...], Field(max_length=1_000)] = ()


MAX_NAMED_NODES = 100


@CATALOGUE.declare(
    "dev.sentinel.fleet.suspect.v1",
    terminal=True,
    example={
        "cluster": "local",
        "nodes": ["gpu-0", "gpu-1", "gpu-4"],
        "share": 0.375,
        "window": "PT10M",
        "message": "3 of 8 GPU nodes have failed within 10 minutes: nothing is rescheduled for a common cause",
    },
)
class FleetSuspect(EventData):
    """So many nodes of a cluster complain at once that the cause is a common one. The subject is cluster/<name>.

    nodes: the first of those that complain. share: the part of the GPU nodes that they are.
    """

    cluster: Text
    nodes: Annotated[tuple[Text, ...], Field(max_length=MAX_NAMED_NODES)]
    share: Annotated[float, Field(gt=0)]
    window: Duration
    message: str


@CATALOGUE.declare(
    "dev.sentinel.gpu.idle.v1",
    terminal=True,
    example={
        "workload": "9403eeb2-8848-53a3-90c2-1095c047864f",
        "cluster": "local",
        "gpus": 2,
        "usdPerHour": "4.500000",
        "window": "PT6H",
        "reclaimAt": "2026-01-02T00:00:00Z",
    },
)
class GpuIdle(EventData):
    """All GPUs of a workload were idle for a window. The subject is the workload's id.

    reclaim_at: when they may be taken from it, if they still are.
    """

    workload: uuid.UUID
    cluster: Text
    gpus: Annotated[int, Field(ge=1)]
    usd_per_hour: Decimal
    window: Duration
    reclaim_at: Moment


@CATALOGUE.declare(
    "dev.sentinel.slo.breached.v1",
    example={
        "workload": "9403eeb2-8848-53a3-90c2-1095c047864f",
        "objective": "min_success_rate",
        "breach": "5f0e0f43-9c7b-5f43-8c7b-0f6a3d1c2b10",
        "state": "raised",
        "policy": "search-slo",
        "target": 0.999,
        "burnRate": 15.2,
        "factor": 14.4,
        "longWindow": "PT1H",
        "shortWindow": "PT5M",
        "message": "the error budget of 99.9000% burns 15.2 times as fast as it may over 1:00:00 and 0:05:00",
    },
)
class SloBreached(EventData):
    """A workload burns its error budget too fast, or does so no more. The subject is the workload's id.

    breach: one id for the breach while it lasts: raised and over carry the same. Without one, the workload is observed
    and nothing else. target: the share of requests that must succeed. burn_rate: how many times too fast the budget
    burns over both windows, now; more than factor while the breach lasts.
    """

    workload: Text
    objective: Text
    breach: uuid.UUID | None = None
    state: BreachState = BreachState.RAISED
    policy: str = ""
    target: float | None = None
    burn_rate: float | None = None
    factor: float | None = None
    long_window: Duration | None = None
    short_window: Duration | None = None
    message: str = ""
