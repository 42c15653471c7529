"""What was seen on a cluster of one workload, and how to read it.

The objects are what the API server sent: raw dicts. This module is the only one that knows their paths.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shared.rollout.manifests import INSTANCE_LABEL, REVISION_ANNOTATION

_ROLLOUT_ANNOTATION = "deployment.kubernetes.io/revision"
_FINISHED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Observation:
    """The object (None: it is not there), the pods of its workload, and a Deployment's ReplicaSets while it rolls out.

    `pods` are those of the workload, by instance label: of every revision, and finished ones too. They are looked at
    (`pods_seen`) only where the object's own status leaves something open: not beside a rollout that is complete.
    """

    object: Mapping[str, Any] | None
    pods: tuple[Mapping[str, Any], ...] = ()
    replica_sets: tuple[Mapping[str, Any], ...] = ()
    pods_seen: bool = True

    @property
    def occupying(self) -> int:
        """How many pods hold resources: all that have not finished, terminating ones included.

        Where the pods were not looked at, the complete rollout says how many there are.
        """
        if self.object is not None and not self.pods_seen:
            return rollout_of(self.object).total
        return sum(1 for pod in self.pods if phase(pod) not in _FINISHED)

    @property
    def others_occupying(self) -> int:
        """How many of the occupying pods the object does not control itself: those of a Job that it has replaced."""
        own = None if self.object is None else _uid(self.object)
        return sum(1 for pod in self.pods if phase(pod) not in _FINISHED and _controller(pod) != own)

    @property
    def gone(self) -> bool:
        """Whether nothing is left that holds resources."""
        return self.object is None and self.occupying == 0


@dataclass(frozen=True)
class Rollout:
    """The counts of a Deployment's or a StatefulSet's status."""

    desired: int
    total: int
    updated: int
    ready: int
    available: int

    @property
    def complete(self) -> bool:
        """Every replica is of the newest revision, ready and available, and none of an older one is left.

        Without the last, old replicas that are ready would stand in for new ones that are not.
        """
        return self.total == self.updated == self.desired and min(self.ready, self.available) >= self.desired


def rollout_of(resource: Mapping[str, Any]) -> Rollout:
    """The counts; what a status leaves out is zero."""
    status = resource.get("status", {})
    return Rollout(
        desired=resource["spec"].get("replicas", 1),
        total=status.get("replicas", 0),
        updated=status.get("updatedReplicas", 0),
        ready=status.get("readyReplicas", 0),
        available=status.get("availableReplicas", 0),
    )


def instance_of(resource: Mapping[str, Any]) -> str | None:
    """The workload that an object says it belongs to."""
    label: str | None = resource["metadata"].get("labels", {}).get(INSTANCE_LABEL)
    return label


def revision_of(resource: Mapping[str, Any]) -> int | None:
    """The revision that Sentinel applied last; None when someone has removed or spoilt the annotation."""
    text = str(resource["metadata"].get("annotations", {}).get(REVISION_ANNOTATION, ""))
    return int(text) if text.isascii() and text.isdigit() else None


def is_stale(resource: Mapping[str, Any]) -> bool:
    """Whether the status speaks of an older generation than the spec. A Job's status does not say."""
    observed = resource.get("status", {}).get("observedGeneration", 0)
    return bool(resource["kind"] != "Job" and observed < resource["metadata"].get("generation", 0))


def condition(resource: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """The status condition of a type, if there is one."""
    conditions = resource.get("status", {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == kind), None)


def holds(resource: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """The condition of a type, if its status is True."""
    found = condition(resource, kind)
    return found if found is not None and found.get("status") == "True" else None


def phase(pod: Mapping[str, Any]) -> str:
    """Pending, Running, Succeeded, Failed or Unknown."""
    return str(pod.get("status", {}).get("phase", "Pending"))


def container_statuses(pod: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Init containers first, as they run; injected ones count, a pod is not ready without them."""
    status = pod.get("status", {})
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def newest_pods(observation: Observation) -> list[Mapping[str, Any]]:
    """The pods of the revision that the object asks for now, without those being deleted; by name.

    A Job's are the ones that it controls. A StatefulSet's carry its update revision. A Deployment's belong to the
    ReplicaSet that has the same rollout number as the Deployment itself: neither age nor image tells, because a
    rollback takes up an old ReplicaSet again, and a revision may differ in its environment alone.
    """
    resource = observation.object
    if resource is None:
        return []
    pods = [pod for pod in observation.pods if "deletionTimestamp" not in pod["metadata"]]
    match resource["kind"]:
        case "Deployment":
            owners = {_uid(rs) for rs in observation.replica_sets if _is_newest(rs, resource)}
            pods = [pod for pod in pods if _controller(pod) in owners]
        case "StatefulSet":
            revision = resource.get("status", {}).get("updateRevision")
            pods = [
                pod
                for pod in pods
                if _controller(pod) == _uid(resource)
                and pod["metadata"].get("labels", {}).get("controller-revision-hash") == revision
            ]
        case _:
            pods = [pod for pod in pods if _controller(pod) == _uid(resource)]
    return sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))


def _is_newest(replica_set: Mapping[str, Any], deployment: Mapping[str, Any]) -> bool:
    rollout = deployment["metadata"].get("annotations", {}).get(_ROLLOUT_ANNOTATION)
    return (
        rollout is not None
        and _controller(replica_set) == _uid(deployment)
        and replica_set["metadata"].get("annotations", {}).get(_ROLLOUT_ANNOTATION) == rollout
    )


def _uid(resource: Mapping[str, Any]) -> str | None:
    uid: str | None = resource["metadata"].get("uid")
    return uid


def _controller(resource: Mapping[str, Any]) -> str | None:
    owners = resource["metadata"].get("ownerReferences") or ()
    return next((str(owner["uid"]) for owner in owners if owner.get("controller")), None)
