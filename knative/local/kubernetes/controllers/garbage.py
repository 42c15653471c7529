"""Garbage collection by owner references, and the contents of terminating namespaces.

- An owner that is gone takes its dependents with it, unless another owner of theirs still exists.
- `foregroundDeletion` keeps an owner until no dependent that blocks its deletion is left.
- `orphan` removes the owner from its dependents' references before the owner goes.
- A new object whose owner does not exist is deleted.
"""

from typing import Any

from knative.local.kubernetes.controllers.client import MANAGER, Client
from knative.local.kubernetes.controllers.queue import Controller, WorkQueue
from knative.local.kubernetes.deletion import FOREGROUND, ORPHAN, DeleteOptions
from knative.local.kubernetes.kinds import BY_KEY, BY_NAME, KINDS, NAMESPACE, NODE, POD, Kind
from knative.local.kubernetes.objects import Change, Key, Stored

Object = dict[str, Any]

_FOREGROUND = DeleteOptions(propagation="Foreground")
_AT_ONCE = DeleteOptions(propagation="Background", grace=0)


class GarbageCollector:
    """Keys are ("uid", <uid>) for the dependents of a deleted owner, and (<kind>/<namespace>, <name>) for objects."""

    def __init__(self, client: Client, queue: WorkQueue) -> None:
        self._client = client
        self._queue = queue
        self.deleted_owners = Controller("garbage", 1, self._collect)
        self.finalizers = Controller("finalizers", 1, self._finalize)

    def observe(self, change: Change) -> None:
        metadata = change.new.obj["metadata"]
        owners = metadata.get("ownerReferences") or ()
        if change.deleted:
            self._queue.add(self.deleted_owners, ("uid", metadata["uid"]))
            for owner in owners:
                if owner.get("blockOwnerDeletion"):
                    self._requeue_owner(change.key[0], owner)
            return
        if "deletionTimestamp" in metadata:
            finalizers = metadata.get("finalizers") or ()
            if FOREGROUND in finalizers or ORPHAN in finalizers:
                self._queue.add(self.finalizers, _address(change.kind, change.key))
        if change.old is None:
            for owner in owners:
                if self._exists(owner, change.key[0]) is False:
                    self._queue.add(self.deleted_owners, ("uid", owner["uid"]))

    def _requeue_owner(self, namespace: str, owner: Object) -> None:
        kind = BY_NAME.get((owner["apiVersion"], owner["kind"]))
        if kind is not None:
            key = (namespace if kind.namespaced else "", owner["name"])
            stored = self._client.objects.get(kind, key)
            if stored is not None and "deletionTimestamp" in stored.obj["metadata"]:
                self._queue.add(self.finalizers, _address(kind, key))

    def _exists(self, owner: Object, namespace: str) -> bool | None:
        """None when the owner is of a kind that is not served: nobody knows then."""
        kind = BY_NAME.get((owner["apiVersion"], owner["kind"]))
        if kind is None:
            return None
        stored = self._client.objects.get(kind, (namespace if kind.namespaced else "", owner["name"]))
        return stored is not None and stored.obj["metadata"]["uid"] == owner["uid"]

    def _collect(self, key: Key) -> None:
        uid = key[1]
        for kind, dependent in self._client.objects.dependents(uid):
            metadata = dependent.obj["metadata"]
            others = [
                owner
                for owner in metadata["ownerReferences"]
                if owner["uid"] != uid and self._exists(owner, metadata.get("namespace", "")) is not False
            ]
            if others:
                self._client.set_metadata(kind, dependent, ownerReferences=others)
            elif "deletionTimestamp" not in metadata:
                self._client.delete(kind, dependent)

    def _finalize(self, key: Key) -> None:
        kind_key, _, namespace = key[0].partition("/")
        kind = BY_KEY[kind_key]
        stored = self._client.objects.get(kind, (namespace, key[1]))
        if stored is None or "deletionTimestamp" not in stored.obj["metadata"]:
            return
        metadata = stored.obj["metadata"]
        finalizers = metadata.get("finalizers") or []
        dependents = self._client.objects.dependents(metadata["uid"])
        if ORPHAN in finalizers:
            for child_kind, child in dependents:
                references = [o for o in child.obj["metadata"]["ownerReferences"] if o["uid"] != metadata["uid"]]
                self._client.set_metadata(child_kind, child, ownerReferences=references or None)
        elif FOREGROUND in finalizers:
            for child_kind, child in dependents:
                if "deletionTimestamp" not in child.obj["metadata"]:
                    self._client.delete(child_kind, child, _FOREGROUND)
            if any(_blocks(child, metadata["uid"]) for _, child in self._client.objects.dependents(metadata["uid"])):
                return
        else:
            return
        current = self._client.objects.get(kind, (namespace, key[1]))
        if current is not None:
            left = [name for name in finalizers if name not in (FOREGROUND, ORPHAN)]
            self._client.set_metadata(kind, current, finalizers=left or None)


def _address(kind: Kind, key: Key) -> Key:
    return f"{kind.key}/{key[0]}", key[1]


def _blocks(stored: Stored, uid: str) -> bool:
    owners = stored.obj["metadata"].get("ownerReferences") or ()
    return any(owner["uid"] == uid and owner.get("blockOwnerDeletion") for owner in owners)


class NamespaceController:
    """A namespace that is terminating is emptied before it goes. Pods of a deleted node go too."""

    def __init__(self, client: Client, queue: WorkQueue) -> None:
        self._client = client
        self._queue = queue
        self.controller = Controller("namespace", 6, self._reconcile)
        self.nodes = Controller("pods of a deleted node", 1, self._empty_node)

    def observe(self, change: Change) -> None:
        if change.kind is NAMESPACE and not change.deleted:
            self._queue.add(self.controller, change.key)
        elif change.kind is NODE and change.deleted:
            self._queue.add(self.nodes, change.key)
        elif change.deleted and change.kind.namespaced:
            home = self._client.objects.get(NAMESPACE, ("", change.key[0]))
            if home is not None and "deletionTimestamp" in home.obj["metadata"]:
                self._queue.add(self.controller, ("", change.key[0]))

    def _reconcile(self, key: Key) -> None:
        stored = self._client.objects.get(NAMESPACE, key)
        if stored is None or "deletionTimestamp" not in stored.obj["metadata"]:
            return
        name, remaining = key[1], False
        for kind in KINDS:
            for child in self._client.objects.all(kind, name) if kind.namespaced else ():
                self._client.delete(kind, child, _AT_ONCE)
            remaining = remaining or (kind.namespaced and any(True for _ in self._client.objects.all(kind, name)))
        if not remaining and not stored.obj["metadata"].get("finalizers"):
            emptied = self._client.update(NAMESPACE, stored, stored.obj | {"spec": {}}, MANAGER)
            self._client.remove(NAMESPACE, emptied)

    def _empty_node(self, key: Key) -> None:
        for stored in self._client.objects.all(POD):
            if stored.obj["spec"].get("nodeName") == key[1]:
                self._client.delete(POD, stored, _AT_ONCE)
