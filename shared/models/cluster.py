"""Registered clusters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class ClusterState(StrEnum):
    """What an operator has said of a cluster.

    CORDONED: no workload is placed there; what runs there stays, and is updated there. LOST: nothing is placed there,
    nothing runs there, and it is not asked.
    """

    ACTIVE = "active"
    CORDONED = "cordoned"
    LOST = "lost"


@dataclass(frozen=True)
class Cluster:
    """A cluster that workloads may be placed on.

    `gpus` is its capacity by SKU, or None when it is not known. `products` are the values of the label
    nvidia.com/gpu.product that its nodes have shown; none before the first reading. Credentials are never here: they
    are files in the directory that CLUSTERS_DIR names, one kubeconfig a cluster.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    gpus: Mapping[str, int] | None = None
    products: tuple[str, ...] = ()
    state: ClusterState = ClusterState.ACTIVE

    def has_gpu(self, sku: str | None) -> bool:
        """Whether it may have GPUs of this SKU (None: of any); an unknown capacity may."""
        if self.gpus is None:
            return True
        return any(self.gpus.values()) if sku is None else self.gpus.get(sku, 0) > 0
