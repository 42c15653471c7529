"""The parts put together: store, watches, writes, deletions and controllers over one state directory."""

import asyncio
import sqlite3
from pathlib import Path

from knative.local.kubernetes import fleet, schema
from knative.local.kubernetes.controllers.actor import Actor
from knative.local.kubernetes.controllers.deployment import Deployments
from knative.local.kubernetes.controllers.garbage import Garbage, Namespaces
from knative.local.kubernetes.controllers.job import Jobs
from knative.local.kubernetes.controllers.kubelet import Kubelet
from knative.local.kubernetes.controllers.queue import WorkQueue
from knative.local.kubernetes.controllers.recorder import Recorder
from knative.local.kubernetes.controllers.replicaset import ReplicaSets
from knative.local.kubernetes.controllers.scheduler import Scheduler
from knative.local.kubernetes.controllers.statefulset import StatefulSets
from knative.local.kubernetes.deletion import Deletions
from knative.local.kubernetes.kinds import KINDS, NAMESPACE, NODE
from knative.local.kubernetes.objects import Change, Objects
from knative.local.kubernetes.reading import Reading
from knative.local.kubernetes.storage import Storage
from knative.local.kubernetes.watch import Watches
from knative.local.kubernetes.writes import Writes

_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


class Cluster:
    """Lives in one event loop. `failed` gets the exception when the disk refused a commit: the process must end."""

    def __init__(self, directory: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._storage = Storage(directory / "objects.sqlite")
        self.schema = schema.load(directory / "schema.json")
        self.objects = Objects(self._storage)
        self.watches = Watches(self.objects)
        self.deletions = Deletions(self.objects)
        self.writes = Writes(self.objects, self.schema, self.deletions.remove)
        self.reading = Reading(self.objects)
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self._flushed: asyncio.Future[None] | None = None
        self.objects.on_staged = self._staged
        self._queue = WorkQueue()
        actor = Actor(self.objects, self.schema, self.deletions)
        recorder = Recorder(actor)
        self._controllers = (
            Scheduler(actor, self._queue, recorder),
            Kubelet(actor, self._queue, self._loop.time),
            Garbage(actor, self._queue),
            ReplicaSets(actor, self._queue),
            Deployments(actor, self._queue, recorder),
            StatefulSets(actor, self._queue, recorder),
            Jobs(actor, self._queue, recorder),
            Namespaces(actor, self._queue),
        )
        self._actor = actor

    def start(self, *, nodes: bool) -> None:
        """Lets the controllers look at everything that is stored, and makes what every cluster has.

        With `nodes`, a store that has no nodes gets the default fleet.
        """
        ordered = sorted(KINDS, key=lambda kind: kind is not NODE)
        for kind in ordered:
            for stored in self.objects.all(kind):
                self._observe(
                    Change(
                        kind,
                        (stored.obj["metadata"].get("namespace", ""), stored.obj["metadata"]["name"]),
                        None,
                        stored,
                    )
                )
        self.objects.on_change.append(self._observe)
        for name in _NAMESPACES:
            if self.objects.get(NAMESPACE, ("", name)) is None:
                self._actor.create(NAMESPACE, {"metadata": {"name": name}})
        if nodes and not self.objects.count(NODE):
            for node in fleet.nodes():
                self._actor.create(NODE, node)
        self._queue.start()

    def stop(self) -> None:
        self._queue.stop()
        self.watches.close()
        self.objects.flush()
        self._storage.close()

    def _observe(self, change: Change) -> None:
        for controller in self._controllers:
            controller.observe(change)

    def _staged(self) -> None:
        self._flushed = self._loop.create_future()
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        waiting, self._flushed = self._flushed, None
        try:
            self.objects.flush()
        except sqlite3.Error as error:
            if not self.failed.done():
                self.failed.set_exception(error)
            return
        if waiting is not None:
            waiting.set_result(None)

    async def durable(self) -> None:
        """Waits until everything written so far is on disk."""
        if self._flushed is not None:
            await asyncio.shield(self._flushed)
