"""Status documents as an API server of Kubernetes 1.37 returns them, cut to what differs between cases."""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.models.amounts import Amounts
from shared.models.deployment import Deployment, ObjectReference
from shared.models.lifecycle import RevisionStatus
from shared.rollout.observation import Observation

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BAKE = timedelta(seconds=30)
PULL_GRACE = timedelta(seconds=60)
WORKLOAD = uuid.UUID("0c2f8c0e-2e0b-5d6a-9c3f-1d8a3e1f7b11")
UID = "28c34ffb-6959-49f4-83ae-f1cb590a5210"
REVISION = 4

Document = dict[str, Any]


def watched(
    kind: str = "Deployment",
    *,
    left: timedelta | None = timedelta(minutes=5),
    ready_since: datetime | None = None,
    status: RevisionStatus = RevisionStatus.VERIFYING,
    replicas: int = 2,
    age: timedelta = timedelta(minutes=5),
    uid: str | None = None,
) -> Deployment:
    """The watched revision. left: the time to its deadline. replicas: as applied. age: the time since its apply."""
    return Deployment(
        id=uuid.UUID(int=1),
        workload_id=WORKLOAD,
        revision=REVISION,
        generation=2,
        plan_id=uuid.UUID(int=2),
        cluster="eu",
        reference=ObjectReference(kind, "search", "web", uid),
        manifest={},
        status=status,
        amounts=Amounts(replicas=replicas),
        applied_at=NOW - age,
        deadline_at=None if left is None else NOW + left,
        ready_since=ready_since,
    )


def resource(
    kind: str = "Deployment",
    *,
    desired: int = 2,
    revision: int | None = REVISION,
    instance: str = str(WORKLOAD),
    generation: int = 7,
    **status: Any,
) -> Document:
    annotations = {"deployment.kubernetes.io/revision": "3"} if kind == "Deployment" else {}
    if revision is not None:
        annotations["sentinel.dev/revision"] = str(revision)
    spec = {"completions": desired, "parallelism": desired} if kind == "Job" else {"replicas": desired}
    if kind != "Job":
        status = {"observedGeneration": generation, **status}
    return {
        "apiVersion": "batch/v1" if kind == "Job" else "apps/v1",
        "kind": kind,
        "metadata": {
            "name": "web",
            "namespace": "search",
            "uid": UID,
            "generation": generation,
            "labels": {"app.kubernetes.io/instance": instance, "app.kubernetes.io/managed-by": "sentinel"},
            "annotations": annotations,
        },
        "spec": spec,
        "status": status,
    }


def counts(total: int, updated: int, ready: int, available: int) -> Document:
    """The counts of a status; zeros are left out, as Kubernetes does."""
    names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    return {name: n for name, n in zip(names, (total, updated, ready, available), strict=True) if n}


def replica_set(name: str, rollout: int, owner: str = UID) -> Document:
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-of-{name}",
            "annotations": {"deployment.kubernetes.io/revision": str(rollout)},
            "ownerReferences": [{"kind": "Deployment", "uid": owner, "controller": True}],
        }
    }


NEW, OLD = replica_set("web-new", 3), replica_set("web-old", 2)


def pod(
    name: str, owner: str = "uid-of-web-new", *containers: Document, phase: str = "Running", **more: Any
) -> Document:
    conditions = more.pop("conditions", [{"type": "PodScheduled", "status": "True"}])
    status = {"phase": phase, "conditions": conditions, "containerStatuses": list(containers), **more.pop("status", {})}
    owners = [{"kind": "ReplicaSet", "uid": owner, "controller": True}]
    return {"metadata": {"name": name, "ownerReferences": owners, **more}, "status": status}


def unschedulable(message: str) -> list[Document]:
    return [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]


def waiting(reason: str, *, restarts: int = 0, ended: Document | None = None, message: str = "") -> Document:
    return {
        "name": "main",
        "image": "registry.example/model:2",
        "ready": False,
        "restartCount": restarts,
        "state": {"waiting": {"reason": reason, "message": message}},
        "lastState": {"terminated": ended} if ended else {},
    }


def running(*, ready: bool = True, restarts: int = 0, ended: Document | None = None) -> Document:
    return {
        "name": "main",
        "image": "registry.example/model:2",
        "ready": ready,
        "restartCount": restarts,
        "state": {"running": {"startedAt": "2026-03-01T11:59:00Z"}},
        "lastState": {"terminated": ended} if ended else {},
    }


def ended(reason: str, code: int) -> Document:
    return {"reason": reason, "exitCode": code, "finishedAt": "2026-03-01T11:59:30Z"}


def over(pod_: Document, why: str = "Evicted") -> Document:
    """The pod as it stays behind when its node evicted it, or was shut down."""
    return {**pod_, "status": {**pod_["status"], "phase": "Failed", "reason": why}}


def refusal(message: str, at: str = "2026-03-01T11:59:00Z", **more: Any) -> Document:
    """An Event of a controller that could not create a pod."""
    return {"reason": "FailedCreate", "message": message, "lastTimestamp": at, "count": 3, **more}


def condition(kind: str, status: str = "True", **more: str) -> Document:
    return {"type": kind, "status": status, **more}


def seen(found: Document | None, pods: Iterable[Document] = (), sets: Iterable[Document] = (NEW, OLD)) -> Observation:
    return Observation(found, tuple(pods), tuple(sets))
