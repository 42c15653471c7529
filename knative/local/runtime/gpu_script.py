"""The script that stands in for the GPUs of a simulated node: what its agent reads in place of NVML and the kubelet.

It is a JSON document, replaced as a whole when something changes, and read again by the agent then:

    {"driver": "580.95.05",
     "gpus": [{"gpu": "GPU-5d2f8a7e-...", "index": 0, "product": "NVIDIA H100 80GB HBM3", "load": 0.8,
               "metrics": {"memory_total_bytes": 85520809984},
               "containers": [{"namespace": "search", "pod": "chat-7d9f6c8b5-x2x7k", "container": "main"}]}],
     "xids": [{"gpu": "GPU-5d2f8a7e-...", "xid": 79, "at": "2026-01-01T00:00:00Z"}]}

`load` is from 0 to 1. `metrics` are by names of shared/telemetry/gpu_fields.csv. An XID is seen once, at its time.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from knative.local.cluster.gpu_nodes import GpuContainer, SimulatedGpuNode

DRIVER = "580.95.05"
LOAD = 0.8
"""Of a GPU that a container has; the others are idle."""
_KEPT_XIDS = 100
_XID_ORDER = re.compile(r"([0-9]{1,3}):([0-9]{1,5})")


@dataclass(frozen=True)
class XidOrder:
    """What a node's annotation asks for: this XID on the GPU with this index."""

    index: int
    xid: int

    @classmethod
    def parse(cls, text: str) -> XidOrder:
        """Reads "0:79". Raises ValueError."""
        found = _XID_ORDER.fullmatch(text)
        if found is None:
            raise ValueError(f"{text[:20]!r} is not <index of the GPU>:<XID>, such as 0:79")
        return cls(int(found[1]), int(found[2]))


class SimulatedGpus:
    """The GPUs of one node: who has them, and what has happened to them.

    A container gets the free GPUs with the lowest indexes, as a device plugin gives them, and keeps them until it is
    gone.
    """

    def __init__(self, node: SimulatedGpuNode) -> None:
        self.node = node
        self._held: dict[tuple[str, str], tuple[GpuContainer, tuple[int, ...]]] = {}
        self._xids: list[dict[str, Any]] = []

    def assign(self, containers: Sequence[GpuContainer]) -> None:
        """Takes the GPUs of containers that are gone, and gives new ones theirs."""
        present = {(each.pod_uid, each.container): each for each in containers}
        self._held = {key: held for key, held in self._held.items() if key in present}
        free = sorted(set(range(self.node.gpus)) - {index for _, held in self._held.values() for index in held})
        for key, container in present.items():
            if key not in self._held and container.gpus <= len(free):
                self._held[key] = container, tuple(free[: container.gpus])
                del free[: container.gpus]

    def throw(self, order: XidOrder, at: datetime) -> None:
        """The GPU has this XID from then on. Raises ValueError when the node has no such GPU."""
        if order.index >= self.node.gpus:
            raise ValueError(f"{self.node.name} has no GPU {order.index}; it has {self.node.gpus}")
        self._xids.append({"gpu": self.uuid(order.index), "xid": order.xid, "at": f"{at:%Y-%m-%dT%H:%M:%S.%f}Z"})
        del self._xids[:-_KEPT_XIDS]

    def held_by(self, namespace: str, pod: str) -> list[int]:
        """The indexes of the pod's GPUs."""
        held = [held for each, held in self._held.values() if (each.namespace, each.pod) == (namespace, pod)]
        return [index for indexes in held for index in indexes]

    def uuid(self, index: int) -> str:
        """As NVML spells it; the same at every start."""
        return f"GPU-{uuid.uuid5(uuid.NAMESPACE_DNS, f'{index}.{self.node.name}.gpu.sentinel.dev')}"

    def document(self) -> dict[str, Any]:
        """The script as it is now."""
        return {"driver": DRIVER, "gpus": [self._gpu(index) for index in range(self.node.gpus)], "xids": [*self._xids]}

    def _gpu(self, index: int) -> dict[str, Any]:
        holders = [container for container, held in self._held.values() if index in held]
        return {
            "gpu": self.uuid(index),
            "index": index,
            "product": self.node.product.replace("-", " "),
            "load": LOAD if holders else 0.0,
            "metrics": {"memory_total_bytes": self.node.memory} if self.node.memory else {},
            "containers": [_reference(each) for each in holders],
        }


def write(path: Path, document: dict[str, Any]) -> None:
    """Replaces the file, whole or not at all. Raises OSError."""
    scratch = path.with_name(f"{path.name}.new")
    scratch.write_text(json.dumps(document, indent=1))
    os.replace(scratch, path)


def _reference(container: GpuContainer) -> dict[str, str]:
    return {"namespace": container.namespace, "pod": container.pod, "container": container.container}
