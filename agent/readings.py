"""What the parts of the agent hand to each other: what was read on the node at one moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple, Protocol

from shared.models.telemetry import Container, GpuState, NodeState


class GpuReading(NamedTuple):
    """One GPU, or one MIG instance: that names the GPU that it is a slice of (`parent`) and its `profile` ("1g.10gb").

    gpu: its UUID as NVML gives it. index: NVML's number of the GPU, of the parent for a MIG instance. product: the
    driver's name. metrics: by names of shared.telemetry.fields.GPU_FIELDS; what the GPU does not support is absent.
    instance: NVML's id of the GPU instance that a MIG instance is in. pci_bus_id: "00000000:0F:00.0". Both are labels
    of the metrics, and no event carries them.

    A named tuple, because each sample changes every one twice: `having` takes a twentieth of the time that `replace`
    takes for a frozen dataclass.
    """

    gpu: str
    index: int  # type: ignore[assignment]  # hides a method of tuples that nothing calls
    product: str
    state: GpuState = GpuState.OK
    parent: str | None = None
    profile: str | None = None
    metrics: Mapping[str, float] = MappingProxyType({})
    containers: tuple[Container, ...] = ()
    instance: int | None = None
    pci_bus_id: str = ""

    def having(self, metrics: Mapping[str, float], containers: tuple[Container, ...] = ()) -> "GpuReading":
        """The same with these metrics and containers; `_replace` takes three times as long."""
        gpu, index, product, state, parent, profile, _, _, instance, pci_bus_id = self
        return GpuReading(gpu, index, product, state, parent, profile, metrics, containers, instance, pci_bus_id)


@dataclass(frozen=True)
class SeenXid:
    """An XID error that the driver told of. gpu: the UUID, or None where it is not known."""

    gpu: str | None
    xid: int
    seen_at: datetime


@dataclass(frozen=True)
class GpuPart:
    """What the source of GPUs read. driver: its version, or None where there is none."""

    state: NodeState
    driver: str | None = None
    gpus: tuple[GpuReading, ...] = ()
    xids: tuple[SeenXid, ...] = ()


@dataclass(frozen=True)
class NodeReading:
    """Everything that was read at one moment. metrics: by names of shared.telemetry.fields.NODE_FIELDS.

    observed_at: UTC, by the node's clock, to the millisecond.
    """

    cluster: str
    node: str
    observed_at: datetime
    state: NodeState
    driver: str | None
    metrics: Mapping[str, float]
    gpus: tuple[GpuReading, ...]
    xids: tuple[SeenXid, ...] = ()


class GpuSource(Protocol):
    """Where the readings of GPUs come from: NVML, or a script."""

    def read(self, now: datetime) -> GpuPart:
        """Never raises, and never waits longer than its deadline: what is wrong is the state."""

    def close(self) -> None:
        """Lets go of the driver."""


class NodeSource(Protocol):
    """Where the readings of the node itself come from: Linux, or a script."""

    def read(self) -> Mapping[str, float]:
        """What could be read; what could not is absent."""


class ContainerSource(Protocol):
    """Which containers have which GPUs: the kubelet's pod-resources API, or a script."""

    def containers(self, gpus: Sequence[GpuReading]) -> Mapping[str, tuple[Container, ...]]:
        """Of these GPUs, by the UUID of the GPU or the MIG instance. Never raises: what is not known is absent."""

    def close(self) -> None:
        """Lets go of the kubelet."""
