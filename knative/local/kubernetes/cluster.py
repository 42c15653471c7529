"""One cluster: store, watches, writes, deletions and controllers over one state directory."""

import asyncio
import sqlite3
from pathlib import Path

from knative.local.kubernetes import fleet, schema
from knative.local.kubernetes.controllers.client import Client
from knative.local.kubernetes.controllers.deployment import DeploymentController
from knative.local.kubernetes.controllers.events import EventRecorder
from knative.local.kubernetes.controllers.garbage import GarbageCollector, NamespaceController
from knative.local.kubernetes.controllers.job import JobController
from knative.local.kubernetes.controllers.kubelet import Kubelet
from knative.local.kubernetes.controllers.queue import WorkQueue
from knative.local.kubernetes.controllers.replicaset import ReplicaSetController
from knative.local.kubernetes.controllers.scheduler import Scheduler
from knative.local.kubernetes.controllers.statefulset import StatefulSetController
from knative.local.kubernetes.deletion import Deletions
from knative.local.kubernetes.kinds import KINDS, NAMESPACE, NODE
from knative.local.kubernetes.lister import Lister
from knative.local.kubernetes.objects import Change, Objects, key_of
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
        self.lister = Lister(self.objects)
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self._flushed: asyncio.Future[None] | None = None
        self.objects.on_staged = self._staged
        self._queue = WorkQueue()
        client = Client(self.objects, self.schema, self.deletions)
        recorder = EventRecorder(client)
        self._controllers = (
            Scheduler(client, self._queue, recorder),
            Kubelet(client, self._queue, self._loop.time),
            GarbageCollector(client, self._queue),
            ReplicaSetController(client, self._queue, recorder),
            DeploymentController(client, self._queue, recorder),
            StatefulSetController(client, self._queue, recorder),
            JobController(client, self._queue, recorder),
            NamespaceController(client, self._queue),
        )
        self._client = client

    def start(self, *, nodes: bool) -> None:
        """Queues everything that is stored for the controllers, and makes what every cluster has.

        With `nodes`, a store that has no nodes gets the default fleet.
        """
        ordered = sorted(KINDS, key=lambda kind: kind is not NODE)
        for kind in ordered:
            for stored in self.objects.all(kind):
                self._observe(Change(kind, key_of(stored.obj), None, stored))
        self.objects.on_change.append(self._observe)
        for name in _NAMESPACES:
            if self.objects.get(NAMESPACE, ("", name)) is None:
                self._client.create(NAMESPACE, {"metadata": {"name": name}})
        if nodes and not self.objects.count(NODE):
            for node in fleet.nodes():
                self._client.create(NODE, node)
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
