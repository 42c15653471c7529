"""StatefulSets with `podManagementPolicy: Parallel`: numbered pods, made and removed all at once.

A rolling update replaces one pod at a time, the highest number first.
"""

from typing import Any

from knative.local.kubernetes.controllers import pods, rollout
from knative.local.kubernetes.controllers.owning import OwningController
from knative.local.kubernetes.kinds import POD, STATEFUL_SET
from knative.local.kubernetes.objects import Stored

Object = dict[str, Any]

_HASH = "controller-revision-hash"


class StatefulSetController(OwningController):
    kind, dependent, level = STATEFUL_SET, POD, 5

    def _sync(self, stored: Stored, owned: list[Stored]) -> None:
        stateful = stored.obj
        update = f"{stateful['metadata']['name']}-{rollout.template_hash(stateful['spec']['template'])}"
        numbered = {ordinal_of(pod.obj): pod for pod in owned}
        moved = "deletionTimestamp" not in stateful["metadata"] and self._move(stateful, numbered, update)
        if not moved:
            self._client.set_status(STATEFUL_SET, stored, _status(stateful, numbered, update))

    def _move(self, stateful: Object, owned: dict[int, Stored], update: str) -> bool:
        """One step; says whether a pod was made or removed at once, which brings the key back."""
        desired = range(stateful["spec"]["replicas"])
        moved = False
        for ordinal in desired:
            pod = owned.get(ordinal)
            if pod is None:
                moved = self._create(stateful, ordinal, update) or moved
            elif pods.is_finished(pod.obj) and not pods.is_terminating(pod.obj):
                self._client.delete(POD, pod)
                moved = True
        for ordinal in sorted((number for number in owned if number not in desired), reverse=True):
            if not pods.is_terminating(owned[ordinal].obj):
                self._remove(stateful, owned[ordinal])
                moved = True
        return moved or self._replace(stateful, owned, update)

    def _replace(self, stateful: Object, owned: dict[int, Stored], update: str) -> bool:
        """Takes the highest pod of an old revision away, once all pods above it are ready."""
        for ordinal in reversed(range(stateful["spec"]["replicas"])):
            pod = owned.get(ordinal)
            if pod is None or pods.is_terminating(pod.obj):
                return False
            if _revision(pod.obj) != update:
                self._remove(stateful, pod)
                return True
            if not pods.is_ready(pod.obj):
                return False
        return False

    def _create(self, stateful: Object, ordinal: int, revision: str) -> bool:
        name = f"{stateful['metadata']['name']}-{ordinal}"
        pod = pods.from_template(STATEFUL_SET, stateful, name)
        labels = {"apps.kubernetes.io/pod-index": str(ordinal), "statefulset.kubernetes.io/pod-name": name}
        pod["metadata"].setdefault("labels", {}).update(labels | {_HASH: revision})
        pod["spec"]["hostname"] = name
        created = self._client.create(POD, pod)
        if created is not None:
            self._record(stateful, "Create", name)
        return created is not None

    def _remove(self, stateful: Object, pod: Stored) -> None:
        self._client.delete(POD, pod)
        self._record(stateful, "Delete", pod.obj["metadata"]["name"])

    def _record(self, stateful: Object, verb: str, pod: str) -> None:
        message = f"{verb} Pod {pod} in StatefulSet {stateful['metadata']['name']} successful"
        self._recorder.record(STATEFUL_SET, stateful, f"Successful{verb}", message, "statefulset-controller")


def _status(stateful: Object, owned: dict[int, Stored], update: str) -> Object:
    live = [pod.obj for pod in owned.values() if pods.is_active(pod.obj)]
    ready = sum(pods.is_ready(pod) for pod in live)
    updated = sum(_revision(pod) == update for pod in live)
    current = stateful.get("status", {}).get("currentRevision") or update
    if updated == ready == len(live) == stateful["spec"]["replicas"]:
        current = update
    counts = {
        "readyReplicas": ready,
        "currentReplicas": sum(_revision(pod) == current for pod in live),
        "updatedReplicas": updated,
    }
    return {
        "observedGeneration": stateful["metadata"]["generation"],
        "replicas": len(live),
        **{name: count for name, count in counts.items() if count},
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": 0,
        "availableReplicas": ready,
    }


def _revision(pod: Object) -> str | None:
    return (pod["metadata"].get("labels") or {}).get(_HASH)


def ordinal_of(pod: Object) -> int:
    suffix = pod["metadata"]["name"].rpartition("-")[2]
    return int(suffix) if suffix.isdigit() else -1
