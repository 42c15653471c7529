"""What Sentinel asks of a cluster, whoever answers.

Rules that every driver keeps:

- An object is Sentinel's when it carries `app.kubernetes.io/managed-by: sentinel` and the workload's id as its
  `app.kubernetes.io/instance`. No other object is ever changed or deleted.
- A revision is never applied over a newer one: events arrive late and twice.
- An apply names the uid and the resourceVersion that were read, so that it neither resurrects what was deleted
  meanwhile nor overwrites what was not seen. A stale read is repeated a few times: status writes make them routine.
- A field that another field manager owns is left alone, and reported, unless the caller forces the apply: plans of
  users and decision services report, rollbacks force, because a workload that fails must not stay so over
  somebody's `kubectl set image`. What nobody else claims needs no force.
- Errors are of two kinds: ClusterRefused and ClusterConflict need another request, ClusterUnavailable only time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from shared.models.deployment import ObjectReference
from shared.rollout.observation import Observation

Propagation = Literal["Background", "Foreground"]
"""How dependents go; without one, the pods of a deleted Job would live on."""


@dataclass(frozen=True)
class AppliedObject:
    """What the API server made of an apply."""

    uid: str
    resource_version: str
    generation: int


class ClusterDriver(Protocol):
    """One cluster. Any method raises ClusterUnavailable when it cannot be reached, ClusterRefused when it will not."""

    def apply(self, manifest: Mapping[str, Any], *, force: bool = False) -> AppliedObject:
        """Server-side apply of a manifest of shared.rollout; makes its namespace when there is none. Idempotent.

        Raises ClusterConflict for a newer revision on the cluster, and for fields of other managers unless `force`;
        ClusterRefused for an object that is not this workload's.
        """
        ...

    def observe(self, reference: ObjectReference, instance: str) -> Observation:
        """The object and, unless its rollout is complete, the pods of the workload `instance` and their ReplicaSets.

        `observe(...).gone` says that nothing is left that holds resources.
        """
        ...

    def delete(self, reference: ObjectReference, instance: str, propagation: Propagation = "Background") -> bool:
        """Deletes the workload's object, whatever its uid; False when it was not there.

        Raises ClusterRefused when the object of that name belongs to somebody else.
        """
        ...

    def ensure_namespace(self, name: str) -> None:
        """Makes a namespace unless it exists. `apply` does this by itself."""
        ...

    def gpus(self) -> dict[str, int]:
        """Whole GPUs that pods may be given, by SKU, on the nodes that are not cordoned."""
        ...

    def gpu_products(self) -> tuple[str, ...]:
        """The values of the label nvidia.com/gpu.product on all nodes, sorted."""
        ...
