"""ReplicaSets: as many active pods as asked for, and a status that counts them."""

from typing import Any

from knative.local.kubernetes.controllers import claims, pods
from knative.local.kubernetes.controllers.actor import Actor, controller_of
from knative.local.kubernetes.controllers.queue import Controller, WorkQueue
from knative.local.kubernetes.kinds import POD, REPLICA_SET
from knative.local.kubernetes.objects import Change, Key, Stored

Object = dict[str, Any]

_BURST = 500  # pods made in one go


class ReplicaSets:
    def __init__(self, actor: Actor, queue: WorkQueue) -> None:
        self._actor = actor
        self._queue = queue
        self.controller = Controller("replicaset", 4, self._reconcile)

    def observe(self, change: Change) -> None:
        if change.kind is REPLICA_SET and not change.deleted:
            self._queue.add(self.controller, change.key)
        elif change.kind is POD:
            owner = controller_of(change.new.obj)
            if owner is not None and owner["kind"] == "ReplicaSet":
                self._queue.add(self.controller, (change.key[0], owner["name"]))

    def _reconcile(self, key: Key) -> None:
        stored = self._actor.objects.get(REPLICA_SET, key)
        if stored is None:
            return
        replica_set = stored.obj
        owned = claims.claim(self._actor, REPLICA_SET, replica_set)
        active = [pod for pod in owned if pods.is_active(pod.obj)]
        wanted = replica_set["spec"].get("replicas", 1)
        if "deletionTimestamp" not in replica_set["metadata"]:
            if len(active) < wanted:
                created = [self._create(replica_set) for _ in range(min(wanted - len(active), _BURST))]
                if all(created):
                    return  # the pods' changes bring this key back
            elif len(active) > wanted:
                for pod in sorted(active, key=_keep_last)[: len(active) - wanted]:
                    self._actor.delete(POD, pod)
                return
        self._actor.set_status(REPLICA_SET, stored, self._status(key, replica_set, active, owned))

    def _create(self, replica_set: Object) -> bool:
        pod = pods.from_template(REPLICA_SET, replica_set, replica_set["spec"]["template"])
        return self._actor.create(POD, pod) is not None

    def _status(self, key: Key, replica_set: Object, active: list[Stored], owned: list[Stored]) -> Object:
        seconds = replica_set["spec"].get("minReadySeconds", 0)
        labels = (replica_set["spec"]["template"].get("metadata") or {}).get("labels") or {}
        waits = [wait for pod in active if (wait := pods.available_in(pod.obj, seconds)) is not None]
        if any(waits):
            self._queue.add_after(self.controller, key, min(wait for wait in waits if wait))
        ready = sum(pods.is_ready(pod.obj) for pod in active)
        available = sum(wait == 0 for wait in waits)
        labelled = sum(labels.items() <= (pod.obj["metadata"].get("labels") or {}).items() for pod in active)
        status: Object = {"replicas": len(active)}
        counts = {"fullyLabeledReplicas": labelled, "readyReplicas": ready, "availableReplicas": available}
        status |= {name: count for name, count in counts.items() if count}
        status["terminatingReplicas"] = sum(pods.is_terminating(pod.obj) for pod in owned)
        return status | {"observedGeneration": replica_set["metadata"]["generation"]}


def _keep_last(stored: Stored) -> tuple[bool, bool, bool, int]:
    """Sort key of what to delete first: without a node, not running, not ready, youngest."""
    pod = stored.obj
    return (
        bool(pod["spec"].get("nodeName")),
        pod.get("status", {}).get("phase") == "Running",
        pods.is_ready(pod),
        -stored.revision,
    )
