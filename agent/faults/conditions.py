"""Which conditions of faults hold in one reading.

| kind               | holds when                                                                                     |
|--------------------|------------------------------------------------------------------------------------------------|
| driver_hung        | calls to the driver do not return: of the node, or of one GPU                                  |
| gpu_lost           | NVML says that the GPU is lost, or no longer lists a GPU that was there                        |
| row_remap_failure  | a row of the memory could not be replaced (NVML, `nvmlDeviceGetRemappedRows`)                  |
| nvlink_down        | fewer NVLinks are up than have been since the node started                                     |
| thermal_throttling | a thermal slowdown lowers the clocks, of the software or of the hardware                       |
| power_throttling   | the power brake lowers the clocks, or the hardware does for another reason than temperature    |
| degraded           | a clock or the PCIe link is below the median of the GPU's peers under the same load            |

A power cap by software is no fault: it is how a GPU under full load keeps to its power limit.

That a GPU does not throttle, or keeps up with its peers, only counts under load: an idle GPU shows nothing. A condition
that cannot be told is None.

Peers are whole GPUs of the same product on the same node with the same power limit, busy, and with about the same
utilization. A GPU that throttles, or whose clocks a user has set, is not compared: its slowness has a known reason. A
GPU alone has no peers, and neither has one that is divided by MIG: NVML gives the utilization of its slices alone.
"""

import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from agent.faults.fault import FaultKey
from agent.faults.settings import FaultSettings
from agent.readings import GpuReading, NodeReading
from shared.models.telemetry import FaultKind, GpuState, NodeState

# The bits of nvmlClocksEventReason, in nvml.h.
_IDLE = 0x1
_SET_BY_USER = 0x2 | 0x100
_HARDWARE_SLOWDOWN = 0x8
_SOFTWARE_THERMAL = 0x20
_HARDWARE_THERMAL = 0x40
_POWER_BRAKE = 0x80
_THERMAL = _SOFTWARE_THERMAL | _HARDWARE_THERMAL
_SLOWDOWNS = _THERMAL | _HARDWARE_SLOWDOWN | _POWER_BRAKE

READABLE = (NodeState.OK, NodeState.NO_GPU)
"""The states of a node in which the list of its GPUs is complete."""

_WORDS = {
    "sm_clock_hertz": "the clock of the streaming multiprocessors",
    "memory_clock_hertz": "the clock of the memory",
    "pcie_capacity": "the capacity of the PCIe link",
}


@dataclass(frozen=True)
class Condition:
    """Whether something holds, in words, and what shows it. holds: None where it cannot be told."""

    holds: bool | None
    message: str = ""
    evidence: Mapping[str, float | str] = field(default_factory=dict)


_UNTOLD = Condition(None)


def suspects_of(reading: NodeReading, nvlinks: Mapping[str, float], settings: FaultSettings) -> set[str]:
    """The whole GPUs of which a condition may hold. Every reading asks this, so it is quick where all is well.

    nvlinks: how many have been up, by GPU.
    """
    whole = [one for one in reading.gpus if one.parent is None]
    slowest = _slow_by_far(whole, settings)
    return {
        one.gpu
        for one in whole
        if one.state is not GpuState.OK
        or int(one.metrics.get("throttle_reasons", 0)) & _SLOWDOWNS
        or one.metrics.get("row_remap_failure", 0)
        or one.metrics.get("nvlinks_active", nvlinks[one.gpu]) < nvlinks[one.gpu]
        or one.gpu in slowest
    }


def conditions_of(
    reading: NodeReading,
    gpus: Collection[str],
    missing: Mapping[str, int],
    nvlinks: Mapping[str, float],
    settings: FaultSettings,
) -> dict[FaultKey, Condition]:
    """The conditions of the node, of the missing GPUs, and of those whole ones among `gpus`.

    missing: the index of each GPU that was there and is not listed any more. nvlinks: as for `suspects_of`.
    """
    found = {FaultKey(None, FaultKind.DRIVER_HUNG): _node_hung(reading)}
    if reading.state not in READABLE:
        return found
    for uuid, index in missing.items():
        message = f"GPU {index} is not there any more: NVML does not list it"
        found[FaultKey(uuid, FaultKind.GPU_LOST)] = Condition(True, message, {"state": "missing"})
    if not gpus:
        return found
    whole = [one for one in reading.gpus if one.parent is None]
    for gpu in whole:
        if gpu.gpu not in gpus:
            continue
        found[FaultKey(gpu.gpu, FaultKind.GPU_LOST)] = _lost(gpu)
        found[FaultKey(gpu.gpu, FaultKind.DRIVER_HUNG)] = _hung(gpu)
        if gpu.state is GpuState.OK:
            found[FaultKey(gpu.gpu, FaultKind.ROW_REMAP_FAILURE)] = _row_remap_failure(gpu)
            found[FaultKey(gpu.gpu, FaultKind.NVLINK_DOWN)] = _nvlink_down(gpu, nvlinks[gpu.gpu])
            found[FaultKey(gpu.gpu, FaultKind.THERMAL_THROTTLING)] = _thermal(gpu, settings)
            found[FaultKey(gpu.gpu, FaultKind.POWER_THROTTLING)] = _power(gpu, settings)
            found[FaultKey(gpu.gpu, FaultKind.DEGRADED)] = _degraded(gpu, whole, settings)
    return found


def _slow_by_far(whole: Iterable[GpuReading], settings: FaultSettings) -> set[str]:
    """The busy GPUs that are below the ratio of the fastest of their product. No other can be below it of a median."""
    busy: dict[str, list[tuple[str, dict[str, float]]]] = {}
    for one in whole:
        if one.metrics.get("utilization_percent", 0.0) >= settings.busy_percent:
            busy.setdefault(one.product, []).append((one.gpu, _speed(one)))
    found = set()
    for speeds in busy.values():
        for name in _WORDS if len(speeds) > 1 else ():
            limit = settings.degraded_ratio * max(speed.get(name, 0.0) for _, speed in speeds)
            found |= {gpu for gpu, speed in speeds if speed.get(name, limit) < limit}
    return found


def _node_hung(reading: NodeReading) -> Condition:
    match reading.state:
        case NodeState.DRIVER_HUNG:
            silent = sum(one.parent is None and one.state is GpuState.HUNG for one in reading.gpus)
            evidence: dict[str, float | str] = {
                "driver": reading.driver or "unknown",
                "gpus_without_answer": float(silent),
            }
            return Condition(True, "The driver does not answer", evidence)
        case NodeState.OK | NodeState.NO_GPU:
            return Condition(False)
        case NodeState.DRIVER_MISSING | NodeState.DRIVER_CHANGED:
            return _UNTOLD


def _lost(gpu: GpuReading) -> Condition:
    match gpu.state:
        case GpuState.LOST:
            return Condition(True, f"GPU {gpu.index} is lost: it has fallen off the bus", {"state": "lost"})
        case GpuState.OK:
            return Condition(False)
        case GpuState.HUNG:
            return _UNTOLD


def _hung(gpu: GpuReading) -> Condition:
    match gpu.state:
        case GpuState.HUNG:
            return Condition(True, f"GPU {gpu.index} does not answer", {"state": "hung"})
        case GpuState.OK:
            return Condition(False)
        case GpuState.LOST:
            return _UNTOLD


def _row_remap_failure(gpu: GpuReading) -> Condition:
    if (flag := gpu.metrics.get("row_remap_failure")) is None:
        return _UNTOLD
    evidence = _measured(gpu, "remapped_rows_uncorrectable_total", "remapped_rows_correctable_total")
    return Condition(flag > 0, f"GPU {gpu.index} could not replace a broken row of its memory", evidence)


def _nvlink_down(gpu: GpuReading, most: float) -> Condition:
    if (active := gpu.metrics.get("nvlinks_active")) is None:
        return _UNTOLD
    message = f"GPU {gpu.index} has {active:g} NVLinks up; it had {most:g}"
    return Condition(active < most, message, {"nvlinks_active": active, "nvlinks_before": most})


def _thermal(gpu: GpuReading, settings: FaultSettings) -> Condition:
    if (reasons := _reasons(gpu)) is None:
        return _UNTOLD
    evidence = {
        **_measured(gpu, "temperature_celsius", "memory_temperature_celsius", "temperature_slowdown_celsius"),
        **_measured(gpu, "sm_clock_hertz", "throttle_reasons"),
    }
    message = f"GPU {gpu.index} lowers its clocks because of its temperature"
    return _under_load(gpu, bool(reasons & _THERMAL), message, evidence, settings)


def _power(gpu: GpuReading, settings: FaultSettings) -> Condition:
    if (reasons := _reasons(gpu)) is None:
        return _UNTOLD
    evidence = _measured(gpu, "power_watts", "power_limit_watts", "sm_clock_hertz", "throttle_reasons")
    message = f"GPU {gpu.index} lowers its clocks because of its power supply"
    return _under_load(gpu, _lacks_power(reasons), message, evidence, settings)


def _under_load(
    gpu: GpuReading, holds: bool, message: str, evidence: Mapping[str, float | str], settings: FaultSettings
) -> Condition:
    if holds:
        return Condition(True, message, evidence)
    return Condition(False) if _is_busy(gpu, settings) else _UNTOLD


def _degraded(gpu: GpuReading, whole: Iterable[GpuReading], settings: FaultSettings) -> Condition:
    if not _is_comparable(gpu, settings):
        return _UNTOLD
    peers = [one for one in whole if _is_comparable(one, settings) and _are_peers(gpu, one, settings)]
    compared = list(_compared(gpu, peers))
    if not compared:
        return _UNTOLD
    ratio, name, own, median = min(compared)
    message = (
        f"GPU {gpu.index} is slower than its peers under the same load: "
        f"{_WORDS[name]} is {ratio:.0%} of the median of {len(peers)}"
    )
    evidence: dict[str, float | str] = {
        "measure": name,
        "value": own,
        "median_of_peers": median,
        "ratio": round(ratio, 4),
        "peers": float(len(peers)),
        **_measured(gpu, "utilization_percent", "throttle_reasons"),
    }
    return Condition(ratio < settings.degraded_ratio, message, evidence)


def _compared(gpu: GpuReading, peers: list[GpuReading]) -> Iterator[tuple[float, str, float, float]]:
    """Of each measure that the GPU and its peers have: the ratio, the name, the GPU's value, and the peers' median."""
    own = _speed(gpu)
    others = [_speed(one) for one in peers]
    for name, value in own.items():
        values = [speed[name] for speed in others if name in speed]
        if values and (median := statistics.median(values)) > 0:
            yield value / median, name, value, median


def _speed(gpu: GpuReading) -> dict[str, float]:
    """What can be compared. Each generation of PCIe is about twice as fast as the one before."""
    metrics, found = gpu.metrics, {}
    if (clock := metrics.get("sm_clock_hertz")) is not None:
        found["sm_clock_hertz"] = clock
    if (clock := metrics.get("memory_clock_hertz")) is not None:
        found["memory_clock_hertz"] = clock
    if (generation := metrics.get("pcie_link_generation")) and (width := metrics.get("pcie_link_width")):
        found["pcie_capacity"] = width * 2**generation
    return found


def _are_peers(gpu: GpuReading, other: GpuReading, settings: FaultSettings) -> bool:
    """Whether two GPUs that can be compared have the same load."""
    if other.gpu == gpu.gpu or other.product != gpu.product:
        return False
    if gpu.metrics.get("power_limit_watts") != other.metrics.get("power_limit_watts"):
        return False
    apart = abs(gpu.metrics["utilization_percent"] - other.metrics["utilization_percent"])
    return apart <= settings.same_load_percent


def _is_comparable(gpu: GpuReading, settings: FaultSettings) -> bool:
    if gpu.state is not GpuState.OK or gpu.metrics.get("utilization_percent", 0.0) < settings.busy_percent:
        return False
    reasons = _reasons(gpu) or 0
    return not reasons & (_SET_BY_USER | _THERMAL) and not _lacks_power(reasons)


def _is_busy(gpu: GpuReading, settings: FaultSettings) -> bool:
    if (utilization := gpu.metrics.get("utilization_percent")) is not None:
        return utilization >= settings.busy_percent
    return not (_reasons(gpu) or 0) & _IDLE


def _lacks_power(reasons: int) -> bool:
    slowed_for_power = reasons & _HARDWARE_SLOWDOWN and not reasons & _THERMAL
    return bool(reasons & _POWER_BRAKE or slowed_for_power)


def _reasons(gpu: GpuReading) -> int | None:
    reasons = gpu.metrics.get("throttle_reasons")
    return None if reasons is None else int(reasons)


def _measured(gpu: GpuReading, *names: str) -> dict[str, float | str]:
    return {name: gpu.metrics[name] for name in names if name in gpu.metrics}
