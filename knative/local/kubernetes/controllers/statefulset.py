"""StatefulSets: numbered pods, made and replaced in order.

With `OrderedReady` one pod moves at a time: the next one is made when all before it are ready, and a rollout replaces
the highest number first. `Parallel` makes and removes all at once, and replaces one at a time as well.
"""

from typing import Any

from knative.local.kubernetes.controllers import claims, pods, rollout
from knative.local.kubernetes.controllers.actor import Actor, controller_of
from knative.local.kubernetes.controllers.queue import Controller, WorkQueue
from knative.local.kubernetes.controllers.recorder import Recorder
from knative.local.kubernetes.kinds import POD, STATEFUL_SET
from knative.local.kubernetes.objects import Change, Key, Stored

Object = dict[str, Any]

_HASH = "controller-revision-hash"


class StatefulSets:
    def __init__(self, actor: Actor, queue: WorkQueue, recorder: Recorder) -> None:
        self._actor = actor
        self._queue = queue
        self._recorder = recorder
        self.controller = Controller("statefulset", 5, self._reconcile)

    def observe(self, change: Change) -> None:
        if change.kind is STATEFUL_SET and not change.deleted:
            self._queue.add(self.controller, change.key)
        elif change.kind is POD:
            owner = controller_of(change.new.obj)
            if owner is not None and owner["kind"] == "StatefulSet":
                self._queue.add(self.controller, (change.key[0], owner["name"]))

    def _reconcile(self, key: Key) -> None:
        stored = self._actor.objects.get(STATEFUL_SET, key)
        if stored is None:
            return
        stateful = stored.obj
        update = f"{key[1]}-{rollout.template_hash(stateful['spec']['template'], 0)}"
        claimed = claims.claim(self._actor, STATEFUL_SET, stateful, lambda pod: _is_numbered(pod, key[1]))
        owned = {ordinal_of(pod.obj): pod for pod in claimed}
        moved = "deletionTimestamp" not in stateful["metadata"] and self._move(stateful, owned, update)
        if not moved:
            self._actor.set_status(STATEFUL_SET, stored, self._status(key, stateful, owned, update))

    def _move(self, stateful: Object, owned: dict[int, Stored], update: str) -> bool:
        """One step; says whether a pod was made or removed at once, which brings the key back."""
        spec = stateful["spec"]
        ordered = spec["podManagementPolicy"] == "OrderedReady"
        start = (spec.get("ordinals") or {}).get("start", 0)
        wanted = range(start, start + spec["replicas"])
        moved = False
        for ordinal in wanted:
            pod = owned.get(ordinal)
            if pod is None:
                moved = self._create(stateful, ordinal, update) or moved
            elif pods.is_finished(pod.obj) and not pods.is_terminating(pod.obj):
                self._actor.delete(POD, pod)
                moved = True
            if ordered and (pod is None or moved or not pods.is_ready(pod.obj) or pods.is_terminating(pod.obj)):
                return moved
        for ordinal in sorted((number for number in owned if number not in wanted), reverse=True):
            if not pods.is_terminating(owned[ordinal].obj):
                self._remove(stateful, owned[ordinal])
                moved = True
            if ordered:
                return moved
        return moved or self._replace(stateful, owned, wanted, update)

    def _replace(self, stateful: Object, owned: dict[int, Stored], wanted: range, update: str) -> bool:
        """Takes the highest pod of an old revision away, once all pods above it are ready."""
        strategy = stateful["spec"]["updateStrategy"]
        if strategy["type"] != "RollingUpdate":
            return False
        partition = (strategy.get("rollingUpdate") or {}).get("partition", 0)
        for ordinal in sorted((number for number in wanted if number >= partition), reverse=True):
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
        pod = pods.from_template(STATEFUL_SET, stateful, stateful["spec"]["template"], name)
        pod["metadata"].setdefault("labels", {}).update(
            {
                "apps.kubernetes.io/pod-index": str(ordinal),
                "statefulset.kubernetes.io/pod-name": name,
                _HASH: revision,
            }
        )
        pod["spec"]["hostname"] = name
        if stateful["spec"].get("serviceName"):
            pod["spec"]["subdomain"] = stateful["spec"]["serviceName"]
        created = self._actor.create(POD, pod)
        if created is not None:
            self._tell(
                stateful,
                "SuccessfulCreate",
                f"Create Pod {name} in StatefulSet {stateful['metadata']['name']} successful",
            )
        return created is not None

    def _remove(self, stateful: Object, pod: Stored) -> None:
        name = pod.obj["metadata"]["name"]
        self._actor.delete(POD, pod)
        self._tell(
            stateful, "SuccessfulDelete", f"Delete Pod {name} in StatefulSet {stateful['metadata']['name']} successful"
        )

    def _tell(self, stateful: Object, reason: str, message: str) -> None:
        self._recorder.record(STATEFUL_SET, stateful, reason, message, "statefulset-controller")

    def _status(self, key: Key, stateful: Object, owned: dict[int, Stored], update: str) -> Object:
        old = stateful.get("status", {})
        seconds = stateful["spec"].get("minReadySeconds", 0)
        live = [pod.obj for pod in owned.values() if pods.is_active(pod.obj)]
        waits = [wait for pod in live if (wait := pods.available_in(pod, seconds)) is not None]
        if any(waits):
            self._queue.add_after(self.controller, key, min(wait for wait in waits if wait))
        updated = [pod for pod in live if _revision(pod) == update]
        current = old.get("currentRevision") or update
        if len(updated) == len(live) == stateful["spec"]["replicas"] and all(pods.is_ready(pod) for pod in live):
            current = update
        counts = {
            "readyReplicas": sum(pods.is_ready(pod) for pod in live),
            "currentReplicas": sum(_revision(pod) == current for pod in live),
            "updatedReplicas": len(updated),
        }
        return {
            "observedGeneration": stateful["metadata"]["generation"],
            "replicas": len(live),
            **{name: count for name, count in counts.items() if count},
            "currentRevision": current,
            "updateRevision": update,
            "collisionCount": 0,
            "availableReplicas": sum(wait == 0 for wait in waits),
        }


def _revision(pod: Object) -> str | None:
    return (pod["metadata"].get("labels") or {}).get(_HASH)


def _is_numbered(pod: Object, name: str) -> bool:
    return bool(pod["metadata"]["name"] == f"{name}-{ordinal_of(pod)}")


def ordinal_of(pod: Object) -> int:
    suffix = pod["metadata"]["name"].rpartition("-")[2]
    return int(suffix) if suffix.isdigit() else -1
