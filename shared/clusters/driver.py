"""What Sentinel asks of a cluster, whoever answers.

Rules that every driver keeps:

- An object is Sentinel's when it carries `app.kubernetes.io/managed-by: sentinel` and the workload's id as its
  `app.kubernetes.io/instance`. Where somebody has removed a label, the uid that Sentinel applied tells the same. A
  label with another value gives the object away. No other object is ever changed or deleted.
- A revision is never applied over a newer one: events arrive late and twice.
- An apply names the uid and the resourceVersion that were read, so that it neither resurrects what was deleted
  meanwhile nor overwrites what was not seen. One that found nothing makes an object, and changes none that has come
  since. A stale read is repeated a few times: status writes make them routine.
- A delete names the highest revision that it means, and what was read. A newer revision stays.
- A field that another field manager owns is left alone. The replicas may be an autoscaler's; any other such field is a
  conflict. A rollback takes a field that may have broken the workload, because that must not stay so over somebody's
  `kubectl set image`. See shared.rollout.field_conflicts. What nobody else claims needs no force.
- Replicas that are left to an autoscaler are given once, to a new object. Nobody may own them after that: an apply that
  leaves out what only Sentinel owns would set them back to 1. So Sentinel keeps them until somebody else has set them.
- Errors are of two kinds: ClusterRefused and ClusterConflict need another request, ClusterUnavailable only time.
  ClusterAway, which is one, says that the whole cluster does not answer; any other says it of one object.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from shared.errors import ClusterRefused
from shared.models.deployment import ObjectReference, OwnedField
from shared.models.node import GpuNode
from shared.rollout.observation import Observation

Propagation = Literal["Background", "Foreground"]
"""How dependents go; without one, the pods of a deleted Job would live on."""


@dataclass(frozen=True)
class AppliedObject:
    """What the API server made of an apply. taken, left: fields of other managers that were, and were not, taken.

    digest: of the applied fields; see shared.rollout.owned_fields.
    """

    uid: str
    resource_version: str
    generation: int
    taken: tuple[OwnedField, ...] = ()
    left: tuple[OwnedField, ...] = ()
    digest: str = ""


@dataclass(frozen=True)
class ObservedObject:
    """What to observe. instance: the id of the workload, in its label; reference.uid: as it was applied, if known."""

    reference: ObjectReference
    instance: str


@dataclass(frozen=True)
class ObjectPage:
    """One page of a list. next_token: for the next page, "" after the last.

    expired: the API server knows the token no more, so the list has to begin again.
    """

    objects: tuple[Mapping[str, Any], ...] = ()
    next_token: str = ""
    expired: bool = False


class ClusterDriver(Protocol):
    """One cluster. Any method raises ClusterAway when it cannot be reached, ClusterRefused when it will not."""

    def within(self, seconds: float, allowed: Callable[[], bool] | None = None) -> "ClusterDriver":
        """The same cluster, for work that must end that soon: what would end later raises ClusterUnavailable.

        allowed: asked before each request, which raises ClusterUnavailable where it is not.
        """
        ...

    def apply(
        self, manifest: Mapping[str, Any], *, failure: str | None = None, uid: str | None = None
    ) -> AppliedObject:
        """Server-side apply of a manifest of shared.rollout; makes its namespace when there is none. Idempotent.

        uid: of the object as Sentinel applied it before, if it did. failure: for a rollback, why the revision that it
        goes back from is broken, "" if that is not known; None for other plans. Raises ClusterConflict for a newer
        revision on the cluster, and for fields of other managers that are neither left nor taken; ForeignObject for an
        object of somebody else.
        """
        ...

    def observe(self, reference: ObjectReference, instance: str) -> Observation:
        """The object and, where its own status leaves something open, its workload's pods, their ReplicaSets, and the
        Events that say why pods could not be created.

        `observe(...).gone` says that nothing is left that holds resources.
        """
        ...

    def observe_many(self, objects: Sequence[ObservedObject]) -> list[Observation | ClusterRefused]:
        """What `observe` returns or refuses for each, in their order, with one LIST a kind where that saves requests.

        The lists are as recent as a GET: none is served from a cache that lags behind.
        """
        ...

    def list_managed(self, kind: str, namespace: str, token: str) -> ObjectPage:
        """The next page, of 500 at most, of the objects of a kind that are labelled as Sentinel's.

        namespace: "" for all. token: of the page before, "" for the first. All pages are of one moment, as long as the
        API server keeps it.
        """
        ...

    def restore_identity(self, live: Mapping[str, Any], manifest: Mapping[str, Any]) -> bool:
        """Puts back the labels and annotations by which `live`, an object just observed, is known as Sentinel's.

        False when the object has changed or gone since: it is left to the next observation.
        """
        ...

    def delete(
        self,
        reference: ObjectReference,
        instance: str,
        propagation: Propagation = "Background",
        *,
        revision: int | None = None,
    ) -> bool:
        """Deletes the workload's object, also one that was created again since; False when it was not there.

        revision: the highest that is meant, None for any. An object of a newer one stays, and False is returned.
        Raises ForeignObject when the object of that name belongs to somebody else.
        """
        ...

    def ensure_namespace(self, name: str) -> None:
        """Makes a namespace unless it exists. `apply` does this by itself."""
        ...

    def gpus(self) -> dict[str, int]:
        """Whole GPUs that pods may be given, by SKU, on the nodes that are not cordoned."""
        ...

    def gpu_nodes(self) -> tuple[GpuNode, ...]:
        """All nodes with the label nvidia.com/gpu.product, by name."""
        ...
