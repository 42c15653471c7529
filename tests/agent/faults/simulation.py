"""A node of GPUs whose readings tests write, one after the other, and the faults that the detectors find in them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from agent.faults.detection import observe
from agent.faults.fault import Fault
from agent.faults.memory import Memory
from agent.faults.settings import DEFAULTS, FaultSettings
from agent.readings import GpuReading, NodeReading, SeenXid
from shared.models.telemetry import Container, GpuState, NodeState

START = datetime(2026, 1, 1, tzinfo=UTC)
H100 = "NVIDIA H100 80GB HBM3"
WEB = Container("search", "web-abc-x", "main")

BUSY = {
    "utilization_percent": 99.0,
    "sm_clock_hertz": 1.98e9,
    "memory_clock_hertz": 2.6e9,
    "power_limit_watts": 700.0,
    "throttle_reasons": 0.0,
    "pcie_link_generation": 5.0,
    "pcie_link_width": 16.0,
    "nvlinks_active": 18.0,
    "ecc_single_bit_volatile_total": 0.0,
    "ecc_double_bit_volatile_total": 0.0,
    "row_remap_failure": 0.0,
}
IDLE = {**BUSY, "utilization_percent": 0.0, "sm_clock_hertz": 3.45e8, "throttle_reasons": 1.0}


def gpu(index: int, metrics: Mapping[str, float] | None = None, **other: object) -> GpuReading:
    """GPU number `index` of the node, busy and well."""
    reading = GpuReading(f"GPU-{index}", index, H100, metrics={**BUSY, **(metrics or {})}, containers=(WEB,))
    return reading._replace(**other)  # type: ignore[arg-type]


@dataclass
class SimulatedNode:
    """Reads at the times that a test says; the energy counters and the uptime run by themselves."""

    settings: FaultSettings = DEFAULTS
    gpus: tuple[GpuReading, ...] = (gpu(0), gpu(1))
    now: datetime = START
    uptime: float = 100_000.0
    energy: float = 1e6
    driver: str = "580.95.05"
    state: NodeState = NodeState.OK
    memory: Memory | None = None
    faults: list[Fault] = field(default_factory=list)

    def read(self, after: float = 10, xids: Iterable[tuple[str | None, int]] = ()) -> list[Fault]:
        """The faults of a reading, `after` seconds after the one before."""
        self.now += timedelta(seconds=after)
        self.uptime += after
        self.energy += 300 * after
        energy = {"energy_joules_total": self.energy}
        reading = NodeReading(
            "local",
            "gpu-0",
            self.now,
            self.state,
            self.driver,
            {"uptime_seconds": self.uptime},
            tuple(one._replace(metrics={**energy, **one.metrics}) if one.parent is None else one for one in self.gpus)
            if self.state in (NodeState.OK, NodeState.DRIVER_HUNG)
            else (),
            tuple(SeenXid(uuid, xid, self.now) for uuid, xid in xids),
        )
        self.memory, found = observe(self.memory, reading, self.settings)
        self.faults += found
        return list(found)

    def watch(self, minutes: float, every: float = 10) -> list[Fault]:
        """The faults of all readings of some minutes."""
        return [fault for _ in range(round(minutes * 60 / every)) for fault in self.read(every)]

    def reset_gpus(self) -> None:
        """What a reset of all GPUs, or a reload of the driver, does to the counters."""
        self.energy = 0.0

    def change(self, index: int, metrics: Mapping[str, float] | None = None, state: GpuState = GpuState.OK) -> None:
        """From now on one GPU has these metrics, beside those of a GPU that is busy and well."""
        changed = gpu(index, metrics, state=state)
        self.gpus = tuple(changed if one.gpu == changed.gpu else one for one in self.gpus)


def told(faults: Iterable[Fault]) -> list[tuple[str | None, str, str]]:
    """GPU, kind and state of each."""
    return [(fault.gpu, str(fault.kind), str(fault.state)) for fault in faults]
