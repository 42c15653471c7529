"""What a write may and may not do to an object of a kind, before it is validated.

Creation clears what only the system sets; an update of the object keeps its status, an update of a status keeps the
rest; the generation counts changes of the spec. Selectors of Jobs and addresses of Services are generated here.
"""

import base64
import hashlib
import secrets
import uuid
from typing import Any

from knative.local.kubernetes import clock
from knative.local.kubernetes.kinds import JOB, NAMESPACE, NODE, POD, SECRET, SERVICE, STATEFUL_SET, Kind

Object = dict[str, Any]

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
IGNORED: dict[str, tuple[tuple[str, ...], ...]] = {
    "": (("f:status",),),
    "status": (("f:spec",), ("f:metadata", "f:labels")),
    "scale": (),
}
"""Fields that a write through each subresource never changes, and so never owns."""


def ignored(kind: Kind, subresource: str) -> tuple[tuple[str, ...], ...]:
    if subresource == "status":
        return (("f:spec",),) if kind is NODE else IGNORED["status"]
    return IGNORED[subresource] if kind.status and kind is not NODE else ()


def random_suffix() -> str:
    return "".join(secrets.choice(_SUFFIX) for _ in range(5))


def prepare_create(kind: Kind, obj: Object) -> None:
    """Gives identity to a fresh object, and drops what a creator cannot set."""
    metadata = obj["metadata"]
    for name in ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        metadata.pop(name, None)
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = metadata["generateName"][:58] + random_suffix()
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = clock.now()
    if kind.generation:
        metadata["generation"] = 1
    if kind.status and kind is not NODE:
        obj.pop("status", None)
    by_kind = {
        NAMESPACE: _namespace,
        POD: _pod,
        JOB: _job,
        STATEFUL_SET: _stateful_set,
        SERVICE: _service,
        SECRET: _secret,
    }
    prepare = by_kind.get(kind)
    if prepare is not None:
        prepare(obj)
    elif kind.status:
        obj.setdefault("status", {})


def prepare_update(kind: Kind, subresource: str, obj: Object, old: Object) -> None:
    """Puts back what this write cannot change; `obj` is a fresh copy and keeps parts of `old`."""
    metadata, before = obj["metadata"], old["metadata"]
    for name in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        if name in before:
            metadata[name] = before[name]
        else:
            metadata.pop(name, None)
    if subresource == "status":
        kept = {name: value for name, value in old.items() if name not in ("status", "metadata")}
        status = obj.get("status", {})
        obj.clear()
        obj.update(kept)
        obj["metadata"] = {
            **before,
            **{
                name: metadata[name] for name in ("annotations", "managedFields", "resourceVersion") if name in metadata
            },
        }
        if "annotations" not in metadata:
            obj["metadata"].pop("annotations", None)
        obj["status"] = status
        return
    if kind.status:
        if "status" in old:
            obj["status"] = old["status"]
        else:
            obj.pop("status", None)
    if kind is SECRET:
        _secret(obj)
    if kind is SERVICE and "clusterIP" in old.get("spec", {}):
        for name in ("clusterIP", "clusterIPs"):
            if name in old["spec"]:
                obj.setdefault("spec", {}).setdefault(name, old["spec"][name])


def bump_generation(kind: Kind, obj: Object, old: Object) -> None:
    if kind.generation and obj.get("spec") != old.get("spec"):
        obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def _namespace(obj: Object) -> None:
    obj["spec"] = {"finalizers": ["kubernetes"]}
    obj["status"] = {"phase": "Active"}


def _pod(obj: Object) -> None:
    obj["status"] = {"phase": "Pending", "qosClass": quality(obj.get("spec", {}))}


def quality(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort, from the cpu and memory of all containers."""
    containers = spec.get("containers") or []
    amounts = []
    for container in containers:
        resources = container.get("resources") or {}
        limits = resources.get("limits") or {}
        requests = limits | (resources.get("requests") or {})
        amounts.append(([limits.get(n) for n in ("cpu", "memory")], [requests.get(n) for n in ("cpu", "memory")]))
    if not any(any(requests) for _, requests in amounts):
        return "BestEffort"
    guaranteed = all(all(limits) and limits == requests for limits, requests in amounts)
    return "Guaranteed" if guaranteed else "Burstable"


def _stateful_set(obj: Object) -> None:
    obj["status"] = {"replicas": 0, "availableReplicas": 0}


def _job(obj: Object) -> None:
    obj["status"] = {}
    spec = obj.get("spec") or {}
    if spec.get("manualSelector"):
        return
    uid = obj["metadata"]["uid"]
    name = obj["metadata"].get("name", "")
    labels = spec.setdefault("template", {}).setdefault("metadata", {}).setdefault("labels", {})
    labels |= {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    spec.setdefault("selector", {}).setdefault("matchLabels", {})["batch.kubernetes.io/controller-uid"] = uid
    given = obj["metadata"].get("labels") or {}
    if given.items() <= labels.items():
        obj["metadata"]["labels"] = dict(labels)


def _service(obj: Object) -> None:
    obj["status"] = {"loadBalancer": {}}
    spec = obj.setdefault("spec", {})
    if spec.get("type") != "ExternalName" and "clusterIP" not in spec:
        digest = hashlib.sha256(obj["metadata"]["uid"].encode()).digest()
        spec["clusterIP"] = f"10.96.{digest[0]}.{1 + digest[1] % 254}"
    if "clusterIP" in spec:
        spec.setdefault("clusterIPs", [spec["clusterIP"]])


def _secret(obj: Object) -> None:
    for name, text in (obj.pop("stringData", None) or {}).items():
        obj.setdefault("data", {})[name] = base64.b64encode(text.encode()).decode()
