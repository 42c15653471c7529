"""What a write may and may not do to an object of a kind, before it is validated.

Creation clears what only the system sets. An update of the object keeps its status, and an update of a status keeps
the rest. The generation counts changes of the spec. The selector of a Job is generated here.
"""

import secrets
import uuid
from typing import Any

from knative.local.kubernetes import clock
from knative.local.kubernetes.kinds import JOB, NAMESPACE, NODE, POD, STATEFUL_SET, Kind

Object = dict[str, Any]
Paths = tuple[tuple[str, ...], ...]

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
STATUS_IGNORES: Paths = (("f:spec",), ("f:metadata", "f:labels"))
_SYSTEM_FIELDS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


def ignored(kind: Kind, subresource: str) -> Paths:
    """Fields that a write through the subresource never changes, and so never owns."""
    if subresource == "status":
        return (("f:spec",),) if kind is NODE else STATUS_IGNORES
    return (("f:status",),) if not subresource and kind.status and kind is not NODE else ()


def random_suffix() -> str:
    return "".join(secrets.choice(_SUFFIX) for _ in range(5))


def prepare_create(kind: Kind, obj: Object) -> None:
    """Gives identity to a fresh object, and drops what a creator cannot set."""
    metadata = obj["metadata"]
    for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        metadata.pop(name, None)
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = metadata["generateName"][:58] + random_suffix()
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = clock.now()
    if kind.generation:
        metadata["generation"] = 1
    if kind is NAMESPACE:
        obj["spec"] = {"finalizers": ["kubernetes"]}
        obj["status"] = {"phase": "Active"}
    elif kind is POD:
        obj["status"] = {"phase": "Pending", "qosClass": quality(obj.get("spec", {}))}
    elif kind is STATEFUL_SET:
        obj["status"] = {"replicas": 0, "availableReplicas": 0}
    elif kind is NODE:
        obj.setdefault("status", {})  # a kubelet states it when it registers its node
    elif kind.status:
        obj["status"] = {}
    if kind is JOB:
        _select_own_pods(obj)


def prepare_update(kind: Kind, subresource: str, obj: Object, old: Object) -> None:
    """Puts back what this write cannot change; `obj` is a fresh copy and keeps parts of `old`."""
    metadata, before = obj["metadata"], old["metadata"]
    if subresource == "status":
        status, stated = obj.get("status", {}), ("annotations", "managedFields", "resourceVersion")
        obj.clear()
        obj.update(old)
        obj["metadata"] = {name: value for name, value in before.items() if name not in stated}
        obj["metadata"] |= {name: metadata[name] for name in stated if name in metadata}
        obj["status"] = status
        return
    for name in _SYSTEM_FIELDS:
        metadata.pop(name, None)
        if name in before:
            metadata[name] = before[name]
    if kind.status:
        obj.pop("status", None)
        if "status" in old:
            obj["status"] = old["status"]


def bump_generation(kind: Kind, obj: Object, old: Object) -> None:
    if kind.generation and obj.get("spec") != old.get("spec"):
        obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def quality(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort, from the cpu and memory of all containers."""
    amounts = []
    for container in spec.get("containers") or []:
        resources = container.get("resources") or {}
        limits = resources.get("limits") or {}
        requests = limits | (resources.get("requests") or {})
        amounts.append(([limits.get(n) for n in ("cpu", "memory")], [requests.get(n) for n in ("cpu", "memory")]))
    if not any(any(requests) for _, requests in amounts):
        return "BestEffort"
    guaranteed = all(all(limits) and limits == requests for limits, requests in amounts)
    return "Guaranteed" if guaranteed else "Burstable"


def _select_own_pods(job: Object) -> None:
    uid, name = job["metadata"]["uid"], job["metadata"].get("name", "")
    spec = job.setdefault("spec", {})
    labels = spec.setdefault("template", {}).setdefault("metadata", {}).setdefault("labels", {})
    labels |= {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name}
    labels |= {"controller-uid": uid, "job-name": name}
    spec.setdefault("selector", {}).setdefault("matchLabels", {})["batch.kubernetes.io/controller-uid"] = uid
    given = job["metadata"].get("labels") or {}
    if given.items() <= labels.items():
        job["metadata"]["labels"] = dict(labels)
