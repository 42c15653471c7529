"""Telemetry samples, and the words for what is wrong with a GPU or a node."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pydantic import JsonValue


@dataclass(frozen=True)
class Sample:
    """What was measured at one moment on a node or of a workload, as `kind` says."""

    kind: str
    subject: str
    observed_at: datetime
    sample: Mapping[str, JsonValue]


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
