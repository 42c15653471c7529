"""The frame of a control loop over objects of one kind that own objects of another kind."""

from knative.local.kubernetes.controllers.client import Client, controller_of
from knative.local.kubernetes.controllers.events import EventRecorder
from knative.local.kubernetes.controllers.queue import Controller, WorkQueue
from knative.local.kubernetes.kinds import Kind
from knative.local.kubernetes.objects import Change, Key, Stored


class OwningController:
    """An object is queued when it changes, and when an object that it controls changes."""

    kind: Kind
    dependent: Kind
    level: int

    def __init__(self, client: Client, queue: WorkQueue, recorder: EventRecorder) -> None:
        self._client = client
        self._queue = queue
        self._recorder = recorder
        self.controller = Controller(self.kind.plural, self.level, self._reconcile)

    def observe(self, change: Change) -> None:
        if change.kind is self.kind and not change.deleted:
            self._queue.add(self.controller, change.key)
        elif change.kind is self.dependent:
            owner = controller_of(change.new.obj)
            if owner is not None and owner["kind"] == self.kind.name:
                self._queue.add(self.controller, (change.key[0], owner["name"]))

    def _reconcile(self, key: Key) -> None:
        stored = self._client.objects.get(self.kind, key)
        if stored is not None:
            self._sync(stored, self._client.objects.owned(self.dependent, stored.obj["metadata"]["uid"]))

    def _sync(self, stored: Stored, owned: list[Stored]) -> None:
        """Moves the objects that `stored` owns one step towards what it asks for, and writes its status."""
        raise NotImplementedError
