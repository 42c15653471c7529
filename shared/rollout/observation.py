"""What a cluster shows of one workload, and how to read it.

The objects are what the API server sent: raw dicts. Only this module knows the paths of their fields.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shared.rollout.manifests import INSTANCE_LABEL, MANAGED_BY, MANAGED_BY_LABEL, REVISION_ANNOTATION

_ROLLOUT_ANNOTATION = "deployment.kubernetes.io/revision"
_COMPLETION_ANNOTATION = "batch.kubernetes.io/job-completion-index"
_FINISHED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Observation:
    """The object (None: it is not there), the pods of its workload, and a Deployment's ReplicaSets while it rolls out.

    pods: those with the workload's instance label, of every revision, finished ones included. pods_seen: they were
    read, which a complete rollout and a status of an older generation make needless. refusals: the Events that say why
    pods of a StatefulSet or Job could not be created; a Deployment says so in a condition.
    """

    object: Mapping[str, Any] | None
    pods: tuple[Mapping[str, Any], ...] = ()
    replica_sets: tuple[Mapping[str, Any], ...] = ()
    pods_seen: bool = True
    refusals: tuple[Mapping[str, Any], ...] = ()

    @property
    def occupying(self) -> int:
        """How many pods hold resources: all that have not finished, terminating ones included.

        Where the pods were not read, the object's status says how many there are.
        """
        if self.object is not None and not self.pods_seen:
            return rollout_of(self.object).total
        return sum(1 for pod in self.pods if phase(pod) not in _FINISHED)

    def occupying_of(self, kind: str, uid: str | None) -> int:
        """How many pods of one object hold resources. A Job's pods are its own; uid: of the object, where it is known.

        Every revision of another kind stands for the same object.
        """
        if kind != "Job" or uid is None or not self.pods_seen:
            return self.occupying
        return sum(1 for pod in self.pods if phase(pod) not in _FINISHED and _controller(pod) == uid)

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
        """Whether every replica is there, of the newest revision, ready and available."""
        return self.serves(self.desired)

    def serves(self, wanted: int) -> bool:
        """Whether at least `wanted` replicas of the newest revision are available, and no others are left.

        Replicas of an older revision would stand in for new ones that are not ready.
        """
        newest = min(self.updated, self.ready, self.available)
        return self.total == self.updated <= self.desired and newest >= wanted


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


def belongs_to(resource: Mapping[str, Any], instance: str, uid: str | None) -> bool:
    """Whether an object is that of the workload `instance`.

    uid: of the object that Sentinel applied, None before its first apply. It tells whose an object is when somebody
    has removed the label. A label with another value gives the object away.
    """
    return _label_or_uid(resource, INSTANCE_LABEL, instance, uid)


def is_managed(resource: Mapping[str, Any], uid: str | None) -> bool:
    """Whether an object is Sentinel's to change, by its label or, where that was removed, by its uid."""
    return _label_or_uid(resource, MANAGED_BY_LABEL, MANAGED_BY, uid)


def _label_or_uid(resource: Mapping[str, Any], label: str, wanted: str, uid: str | None) -> bool:
    there = (resource["metadata"].get("labels") or {}).get(label)
    return bool(there == wanted or (there is None and uid is not None and _uid(resource) == uid))


def instance_of(resource: Mapping[str, Any]) -> str | None:
    """The workload that an object's label names."""
    label: str | None = resource["metadata"].get("labels", {}).get(INSTANCE_LABEL)
    return label


def revision_of(resource: Mapping[str, Any]) -> int | None:
    """The revision that Sentinel applied last; None when someone has removed or spoilt the annotation."""
    text = str(resource["metadata"].get("annotations", {}).get(REVISION_ANNOTATION, ""))
    return int(text) if text.isascii() and text.isdigit() else None


def owns_replicas(resource: Mapping[str, Any], manager: str) -> bool:
    """Whether a field manager owns the replicas of an object by its applies, and nobody else does."""
    owners = {
        (entry.get("manager"), entry.get("operation"))
        for entry in resource["metadata"].get("managedFields") or ()
        if "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {})
    }
    return owners == {(manager, "Apply")}


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


def lacks_pods(resource: Mapping[str, Any]) -> bool:
    """Whether there are fewer pods than the object asks for. A Job's finished pods count."""
    status, spec = resource.get("status", {}), resource["spec"]
    if resource["kind"] == "Job":
        made = sum(status.get(name, 0) for name in ("active", "succeeded", "failed"))
        return bool(made < min(spec.get("completions", 1), spec.get("parallelism", 1)))
    return bool(status.get("replicas", 0) < spec.get("replicas", 1))


def phase(pod: Mapping[str, Any]) -> str:
    """Pending, Running, Succeeded, Failed or Unknown."""
    return str(pod.get("status", {}).get("phase", "Pending"))


def completion_of(pod: Mapping[str, Any]) -> str:
    """What a pod of a Job works at: the pod that replaces it has the same completion, where the Job has several."""
    index = pod["metadata"].get("annotations", {}).get(_COMPLETION_ANNOTATION)
    return str(pod["metadata"]["name"] if index is None else index)


def container_statuses(pod: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Init containers first, as they run; injected ones count, a pod is not ready without them."""
    status = pod.get("status", {})
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def counted_pods(observation: Observation) -> list[Mapping[str, Any]]:
    """The pods of the newest revision that count towards its replicas, by name: those that have not finished.

    Controllers replace a pod that was evicted or shut down with its node, and leave it behind as Failed. Such a pod
    says nothing about the ones that run (`FilterActivePods` of Kubernetes' controllers).
    """
    return [pod for pod in newest_pods(observation) if phase(pod) not in _FINISHED]


def newest_pods(observation: Observation) -> list[Mapping[str, Any]]:
    """The pods of the revision that the object asks for now, finished ones included, by name.

    Pods that are being deleted are left out.

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
