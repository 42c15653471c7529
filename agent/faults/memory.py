"""What the detectors remember from one reading to the next, and how it is written as JSON.

INVARIANT: the memory is all that the detectors know. A memory that was written and read again leads to the same faults.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from agent.faults.fault import Fault, FaultKey
from agent.faults.hysteresis import Streak, Window
from shared.models.telemetry import Blame, Container, FaultKind, FaultState

COUNTERS = ("energy_joules_total", "ecc_single_bit_volatile_total", "ecc_double_bit_volatile_total")
"""What starts from zero when the driver is loaded or the GPU is reset."""


class KnownGpu(NamedTuple):
    """A whole GPU that was seen. counters: the last values of COUNTERS. nvlinks: the most that have been up since the
    node started. containers: what had the GPU when it was last seen, or a slice of it.
    """

    index: int  # type: ignore[assignment]  # as in GpuReading
    product: str
    counters: Mapping[str, float] = MappingProxyType({})
    nvlinks: float = 0.0
    containers: tuple[Container, ...] = ()


@dataclass(frozen=True)
class Standing:
    """A fault that is raised. quiet: seconds without what raised it. was_reset: whether the GPU was reset since."""

    raised_at: datetime
    blame: Blame
    action: str | None = None
    quiet: float = 0.0
    was_reset: bool = False


@dataclass(frozen=True)
class Memory:
    """Of one node. observed_at, driver and uptime are those of the last reading that had them."""

    cluster: str
    node: str
    observed_at: datetime | None = None
    driver: str | None = None
    uptime: float | None = None
    gpus: Mapping[str, KnownGpu] = field(default_factory=dict)
    standing: Mapping[FaultKey, Standing] = field(default_factory=dict)
    streaks: Mapping[FaultKey, Streak] = field(default_factory=dict)
    windows: Mapping[FaultKey, Window] = field(default_factory=dict)


def memory_to_json(memory: Memory) -> dict[str, Any]:
    return {
        "cluster": memory.cluster,
        "node": memory.node,
        "observedAt": memory.observed_at and memory.observed_at.isoformat(),
        "driver": memory.driver,
        "uptime": memory.uptime,
        "gpus": {name: _gpu_to_json(gpu) for name, gpu in memory.gpus.items()},
        "standing": [[*key, _standing_to_json(standing)] for key, standing in memory.standing.items()],
        "streaks": [[*key, streak.holds, streak.seconds] for key, streak in memory.streaks.items()],
        "windows": [[*key, window.slots, window.unknown] for key, window in memory.windows.items()],
    }


def memory_from_json(value: Any) -> Memory:
    """Raises KeyError, TypeError, ValueError or AttributeError for what `memory_to_json` did not write."""
    return Memory(
        str(value["cluster"]),
        str(value["node"]),
        value["observedAt"] and _moment(value["observedAt"]),
        value["driver"],
        None if value["uptime"] is None else float(value["uptime"]),
        {name: _gpu_from_json(gpu) for name, gpu in value["gpus"].items()},
        {_key(*key): _standing_from_json(standing) for *key, standing in value["standing"]},
        {_key(*key): Streak(bool(holds), float(seconds)) for *key, holds, seconds in value["streaks"]},
        {
            _key(*key): Window(tuple((float(known), float(held)) for known, held in slots), float(unknown))
            for *key, slots, unknown in value["windows"]
        },
    )


def fault_to_json(fault: Fault) -> dict[str, Any]:
    return {
        "fault": str(fault.fault),
        "cluster": fault.cluster,
        "node": fault.node,
        "key": [fault.gpu, fault.kind, fault.xid],
        "state": fault.state,
        "blame": fault.blame,
        "action": fault.action,
        "observedAt": fault.observed_at.isoformat(),
        "message": fault.message,
        "evidence": dict(fault.evidence),
        "containers": _containers_to_json(fault.containers),
    }


def fault_from_json(value: Any) -> Fault:
    """Raises KeyError, TypeError, ValueError or AttributeError for what `fault_to_json` did not write."""
    key = _key(*value["key"])
    return Fault(
        uuid.UUID(value["fault"]),
        str(value["cluster"]),
        str(value["node"]),
        key.gpu,
        key.kind,
        FaultState(value["state"]),
        Blame(value["blame"]),
        key.xid,
        value["action"],
        _moment(value["observedAt"]),
        str(value["message"]),
        dict(value["evidence"]),
        _containers_from_json(value["containers"]),
    )


def _key(gpu: str | None, kind: str, xid: int | None) -> FaultKey:
    return FaultKey(gpu, FaultKind(kind), xid)


def _gpu_to_json(gpu: KnownGpu) -> dict[str, Any]:
    return {
        "index": gpu.index,
        "product": gpu.product,
        "counters": dict(gpu.counters),
        "nvlinks": gpu.nvlinks,
        "containers": _containers_to_json(gpu.containers),
    }


def _gpu_from_json(value: Any) -> KnownGpu:
    return KnownGpu(
        int(value["index"]),
        str(value["product"]),
        {str(name): float(number) for name, number in value["counters"].items()},
        float(value["nvlinks"]),
        _containers_from_json(value["containers"]),
    )


def _standing_to_json(standing: Standing) -> dict[str, Any]:
    return {
        "raisedAt": standing.raised_at.isoformat(),
        "blame": standing.blame,
        "action": standing.action,
        "quiet": standing.quiet,
        "wasReset": standing.was_reset,
    }


def _standing_from_json(value: Any) -> Standing:
    return Standing(
        _moment(value["raisedAt"]),
        Blame(value["blame"]),
        value["action"],
        float(value["quiet"]),
        bool(value["wasReset"]),
    )


def _containers_to_json(containers: tuple[Container, ...]) -> list[list[str]]:
    return [[one.namespace, one.pod, one.name] for one in containers]


def _containers_from_json(value: Any) -> tuple[Container, ...]:
    return tuple(Container(str(namespace), str(pod), str(container)) for namespace, pod, container in value)


def _moment(value: str) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} must have a time zone")
    return moment
