"""Readings of a node, as the sources of the agent give them."""

from datetime import UTC, datetime
from typing import Any

from agent.readings import GpuReading, NodeReading
from shared.models.telemetry import Container, NodeState

PRODUCT = "NVIDIA H100 80GB HBM3"
OBSERVED = datetime(2026, 1, 1, tzinfo=UTC)


def gpu_reading(index: int = 0, **changes: Any) -> GpuReading:
    """A GPU under load; containers are given as namespace/pod/container."""
    containers = tuple(Container(*one.split("/")) for one in changes.pop("containers", ()))
    values = {
        "gpu": f"GPU-{index}",
        "product": PRODUCT,
        "metrics": {"utilization_percent": 87.0, "memory_used_bytes": 3.0 * 2**30},
        "pci_bus_id": f"00000000:{index:02X}:00.0",
        **changes,
    }
    return GpuReading(index=index, containers=containers, **values)


def node_reading(*gpus: GpuReading, **changes: Any) -> NodeReading:
    """A node with these GPUs."""
    values = {
        "cluster": "local",
        "node": "gpu-0",
        "observed_at": OBSERVED,
        "state": NodeState.OK,
        "driver": "580.95.05",
        "metrics": {"load1": 1.5, "disk_read_bytes_total": 4096.0},
        **changes,
    }
    return NodeReading(gpus=gpus, **values)
