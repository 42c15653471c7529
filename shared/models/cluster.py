"""Registered clusters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pydantic import JsonValue

from shared.models.moments import rfc3339


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
    nvidia.com/gpu.product that its nodes have shown; none before the first reading. `excluded_nodes` take no new pods,
    and have `excluded_gpus` of the capacity, as far as is known. Credentials are never here: they
    are files in the directory that CLUSTERS_DIR names, one kubeconfig a cluster.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    gpus: Mapping[str, int] | None = None
    products: tuple[str, ...] = ()
    state: ClusterState = ClusterState.ACTIVE
    excluded_nodes: tuple[str, ...] = ()
    excluded_gpus: Mapping[str, int] = field(default_factory=dict)

    @property
    def usable_gpus(self) -> Mapping[str, int] | None:
        """The capacity by SKU without that of the excluded nodes; None when it is not known."""
        return None if self.gpus is None else without(self.gpus, self.excluded_gpus)

    def as_json(self) -> dict[str, JsonValue]:
        """The cluster for machines; `gpus` is null when its capacity is not known."""
        gpus = None if self.gpus is None else dict[str, JsonValue](self.gpus)
        return {"name": self.name, "state": self.state.value, "labels": dict(self.labels), "gpus": gpus}

    def has_gpu(self, sku: str | None) -> bool:
        """Whether it may have GPUs of this SKU (None: of any); an unknown capacity may."""
        return _has(self.gpus, sku)

    def has_usable_gpu(self, sku: str | None) -> bool:
        """As `has_gpu`, on nodes that are not excluded."""
        return _has(self.usable_gpus, sku)


def without(gpus: Mapping[str, int], excluded: Mapping[str, int]) -> dict[str, int]:
    """GPUs by SKU without others. An operator may have registered fewer than there are: none goes below zero."""
    return {sku: max(0, count - excluded.get(sku, 0)) for sku, count in gpus.items()}


def _has(gpus: Mapping[str, int] | None, sku: str | None) -> bool:
    if gpus is None:
        return True
    return any(gpus.values()) if sku is None else gpus.get(sku, 0) > 0


@dataclass(frozen=True)
class ClusterStatus:
    """A cluster, and how it stands. reserved: GPUs by SKU that the ledger holds there, "" for those of any SKU.

    contacted_at: when it answered last. away: whether it did not answer since; away_reason: what was said of that.
    """

    cluster: Cluster
    contacted_at: datetime | None
    away: bool
    away_reason: str
    reserved: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, JsonValue]:
        """The cluster for machines."""
        return {
            **self.cluster.as_json(),
            "products": list(self.cluster.products),
            "reservedGpus": dict[str, JsonValue](sorted(self.reserved.items())),
            "lastContact": rfc3339(self.contacted_at),
            "away": self.away,
            "awayReason": self.away_reason,
        }
