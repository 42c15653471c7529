"""The kubelets: a pod that has a node follows its fate, a pod that is deleted goes at once, and nodes are ready."""

from collections.abc import Callable
from typing import Any

from knative.local.kubernetes import clock
from knative.local.kubernetes.controllers import conditions, fates
from knative.local.kubernetes.controllers.client import KUBELET, Client
from knative.local.kubernetes.controllers.fates import Step
from knative.local.kubernetes.controllers.queue import Controller, WorkQueue
from knative.local.kubernetes.discovery import MINOR
from knative.local.kubernetes.kinds import NODE, POD
from knative.local.kubernetes.objects import Change, Key

Object = dict[str, Any]

_NODE_INFO = {"architecture": "amd64", "operatingSystem": "linux", "osImage": "laptop platform"}


class Kubelet:
    """A step that takes time is a timer. `_due` holds, by the uid of the pod, the step and when it is due."""

    def __init__(self, client: Client, queue: WorkQueue, monotonic: Callable[[], float]) -> None:
        self._client = client
        self._queue = queue
        self._monotonic = monotonic
        self._due: dict[str, tuple[str, float]] = {}
        self.pods = Controller("kubelet", 0, self._reconcile_pod)
        self.nodes = Controller("node", 0, self._reconcile_node)

    def observe(self, change: Change) -> None:
        if change.kind is POD:
            if change.deleted:
                self._due.pop(change.new.obj["metadata"]["uid"], None)
            elif change.new.obj["spec"].get("nodeName"):
                self._queue.add(self.pods, change.key)
        elif change.kind is NODE and not change.deleted:
            self._queue.add(self.nodes, change.key)

    def _reconcile_pod(self, key: Key) -> None:
        stored = self._client.objects.get(POD, key)
        if stored is None or not stored.obj["spec"].get("nodeName"):
            return
        pod = stored.obj
        if "deletionTimestamp" in pod["metadata"]:
            self._client.remove(POD, stored)
            return
        step = fates.next_step(pod)
        if step is None:
            return
        wait = self._remaining(pod["metadata"]["uid"], step)
        if wait > 0:
            self._queue.add_after(self.pods, key, wait)
        else:
            self._client.set_status(POD, stored, step.status(pod, clock.now()), KUBELET)

    def _remaining(self, uid: str, step: Step) -> float:
        """Seconds until the step is due, counted from when it was first seen to come next."""
        if not step.seconds:
            return 0.0
        now = self._monotonic()
        name, due = self._due.get(uid, ("", 0.0))
        if name != step.name:
            due = now + step.seconds
            self._due[uid] = (step.name, due)
        remaining: float = due - now
        if remaining <= 0:
            self._due.pop(uid, None)
        return remaining

    def _reconcile_node(self, key: Key) -> None:
        stored = self._client.objects.get(NODE, key)
        if stored is None or conditions.is_true(stored.obj.get("status", {}), "Ready"):
            return
        now = clock.now()
        ready = conditions.condition("Ready", True, "KubeletReady", "kubelet is posting ready status", now)
        status = {
            "conditions": [ready | {"lastHeartbeatTime": now}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": key[1]}],
            "nodeInfo": _NODE_INFO | {"kubeletVersion": f"v1.{MINOR}.2"},
        }
        self._client.set_status(NODE, stored, stored.obj.get("status", {}) | status, KUBELET)
