"""What nodes and workloads report, and what ingestion makes of it."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue

from events.catalogue import CATALOGUE
from shared.eventing.event import EventData
from shared.models.fields import Text, Wire

MAX_SAMPLES = 5_000


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("must have a time zone")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be between the years 1 and 9999 in UTC") from None


Moment = Annotated[datetime, AfterValidator(_utc)]
Measurements = Annotated[dict[Text, float], Field(min_length=1, max_length=200)]


class GpuSample(Wire):
    """Measurements of one GPU at one moment, by metric name, in the units that the names say."""

    gpu: Text
    observed_at: Moment
    metrics: Measurements


class WorkloadSample(Wire):
    """Measurements of one workload at one moment, by metric name, in the units that the names say."""

    observed_at: Moment
    metrics: Measurements


@CATALOGUE.declare(
    "dev.sentinel.telemetry.gpu.v1",
    outside=True,
    example={
        "node": "gpu-0",
        "samples": [
            {
                "gpu": "GPU-5d2f8a7e-0000-0000-0000-000000000000",
                "observedAt": "2026-01-01T00:00:00Z",
                "metrics": {"utilization_percent": 87.0, "memory_used_bytes": 42949672960},
            }
        ],
    },
)
class TelemetryGpu(EventData):
    """A batch of GPU samples of one node; the subject is the node's id."""

    node: Text
    samples: Annotated[tuple[GpuSample, ...], Field(min_length=1, max_length=MAX_SAMPLES)]


@CATALOGUE.declare(
    "dev.sentinel.telemetry.workload.v1",
    outside=True,
    example={
        "workload": "9403eeb2-8848-53a3-90c2-1095c047864f",
        "samples": [{"observedAt": "2026-01-01T00:00:00Z", "metrics": {"latency_p99_seconds": 0.21}}],
    },
)
class TelemetryWorkload(EventData):
    """A batch of samples of one workload; the subject is the workload's id."""

    workload: Text
    samples: Annotated[tuple[WorkloadSample, ...], Field(min_length=1, max_length=MAX_SAMPLES)]


_FAULT: dict[str, JsonValue] = {
    "node": "gpu-0",
    "gpu": "GPU-5d2f8a7e-0000-0000-0000-000000000000",
    "xid": 79,
    "message": "GPU has fallen off the bus",
    "workloads": ["9403eeb2-8848-53a3-90c2-1095c047864f"],
}


@CATALOGUE.declare("dev.sentinel.gpu.fault.v1", outside=True, example=_FAULT)
class GpuFault(EventData):
    """A GPU failed. The workloads named are looked at again; the subject is the node's id."""

    node: Text
    gpu: Text
    xid: int | None = None
    message: str = ""
    workloads: tuple[Text, ...] = ()


@CATALOGUE.declare(
    "dev.sentinel.slo.breached.v1",
    outside=True,
    example={
        "workload": "9403eeb2-8848-53a3-90c2-1095c047864f",
        "objective": "latency_p99_seconds",
        "message": "burn rate 15.2 over 1 h",
    },
)
class SloBreached(EventData):
    """A workload burns its error budget. It is looked at again; the subject is the workload's id."""

    workload: Text
    objective: Text
    message: str = ""
