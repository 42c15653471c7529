"""The scheduler: binds a pod to a node as soon as one has room, and says why when none has.

Pending pods are grouped by their requests. When a node gains room, each group is tried on the nodes that gained. The
first pod of a group that finds no room ends the attempt for its group. So a thousand equal pods cost as much as one.
"""

from collections import defaultdict
from typing import Any

from knative.local.kubernetes import clock
from knative.local.kubernetes.controllers import conditions, fates, pods
from knative.local.kubernetes.controllers.capacity import Capacity, Demand, demand_of
from knative.local.kubernetes.controllers.client import SCHEDULER, Client
from knative.local.kubernetes.controllers.events import EventRecorder
from knative.local.kubernetes.controllers.queue import Controller, WorkQueue
from knative.local.kubernetes.kinds import NODE, POD
from knative.local.kubernetes.objects import Change, Key, Stored

Object = dict[str, Any]

_RETRY = ("", "waiting pods")


class Scheduler:
    def __init__(self, client: Client, queue: WorkQueue, recorder: EventRecorder) -> None:
        self._client = client
        self._queue = queue
        self._recorder = recorder
        self._capacity = Capacity()
        self._waiting: dict[Demand, dict[Key, None]] = defaultdict(dict)
        self._demands: dict[Key, Demand] = {}
        self._gained: dict[str, None] = {}
        self.pods = Controller("scheduler", 2, self._reconcile)
        self.retry = Controller("scheduler-retry", 3, self._retry)

    def observe(self, change: Change) -> None:
        if change.kind is NODE:
            self._observe_node(change)
        elif change.kind is POD:
            self._observe_pod(change)

    def _observe_node(self, change: Change) -> None:
        name = change.key[1]
        if change.deleted:
            self._capacity.remove_node(name)
            return
        if self._capacity.put_node(change.new.obj):
            self._gained[name] = None
            self._queue.add(self.retry, _RETRY)

    def _observe_pod(self, change: Change) -> None:
        pod = change.new.obj
        uid = pod["metadata"]["uid"]
        node = pod["spec"].get("nodeName")
        if change.deleted or pods.is_finished(pod):
            self._forget(change.key)
            freed = self._capacity.release(uid)
            if freed:
                self._gained[freed] = None
                if self._waiting:
                    self._queue.add(self.retry, _RETRY)
        elif node:
            self._capacity.assign(uid, node, demand_of(pod))
        elif change.key not in self._demands:
            self._queue.add(self.pods, change.key)

    def _forget(self, key: Key) -> None:
        demand = self._demands.pop(key, None)
        if demand is not None:
            group = self._waiting[demand]
            group.pop(key, None)
            if not group:
                del self._waiting[demand]

    def _reconcile(self, key: Key) -> None:
        stored = self._client.objects.get(POD, key)
        if stored is None or stored.obj["spec"].get("nodeName") or not pods.is_active(stored.obj):
            return
        if stored.obj["spec"].get("schedulerName") != "default-scheduler" or stored.obj["spec"].get("schedulingGates"):
            return
        demand = demand_of(stored.obj)
        node = self._capacity.find(demand)
        if node is not None:
            self._bind(stored, node, demand)
            return
        self._demands[key] = demand
        self._waiting[demand][key] = None
        self._refuse(stored, self._capacity.explain(demand))

    def _retry(self, _: Key) -> None:
        gained, self._gained = self._gained, {}
        for demand, group in list(self._waiting.items()):
            for key in list(group):
                node = self._capacity.find(demand, [name for name in gained if self._capacity.knows(name)])
                if node is None:
                    break
                stored = self._client.objects.get(POD, key)
                self._forget(key)
                if stored is not None and pods.is_active(stored.obj):
                    self._bind(stored, node, demand)

    def _bind(self, stored: Stored, node: str, demand: Demand) -> None:
        """Binds the pod, and takes its first step on the node with the same write when that step takes no time."""
        pod = stored.obj
        now = clock.now()
        self._capacity.assign(pod["metadata"]["uid"], node, demand)
        status = pod.get("status", {})
        generation = pod["metadata"].get("generation", 1)
        scheduled = {
            "type": "PodScheduled",
            "status": "True",
            "lastTransitionTime": now,
            "observedGeneration": generation,
        }
        bound = pod | {
            "spec": pod["spec"] | {"nodeName": node},
            "status": status | {"conditions": conditions.put(status.get("conditions") or [], scheduled)},
        }
        step = fates.next_step(bound)
        if step is not None and not step.seconds:
            bound = bound | {"status": step.status(bound, now)}
        self._client.update(POD, stored, bound, SCHEDULER)

    def _refuse(self, stored: Stored, message: str) -> None:
        status = stored.obj.get("status", {})
        condition = conditions.condition("PodScheduled", False, "Unschedulable", message, clock.now())
        condition["observedGeneration"] = stored.obj["metadata"].get("generation", 1)
        fresh = conditions.put(status.get("conditions") or [], condition)
        self._client.set_status(POD, stored, status | {"conditions": fresh}, SCHEDULER)
        self._recorder.record(POD, stored.obj, "FailedScheduling", message, "default-scheduler", warning=True)
