"""The client of the controllers. It writes to the store without HTTP or validation, as the managers of a real cluster.

A new version shares the parts that did not change with the old one. So the record of field owners compares the rest
only.
"""

from typing import Any

from knative.local.kubernetes import clock, defaults, managed, strategy
from knative.local.kubernetes.deletion import DeleteOptions, Deletions
from knative.local.kubernetes.kinds import EVENT, NAMESPACE, Kind
from knative.local.kubernetes.managed import Writer
from knative.local.kubernetes.objects import Object, Objects, Stored, key_of
from knative.local.kubernetes.schema import Schema

MANAGER = Writer("kube-controller-manager")
MANAGER_STATUS = Writer("kube-controller-manager", subresource="status", ignored=strategy.STATUS_IGNORES)
KUBELET = Writer("kubelet", subresource="status", ignored=strategy.STATUS_IGNORES)
SCHEDULER = Writer("kube-scheduler", subresource="status", ignored=strategy.STATUS_IGNORES)

_BACKGROUND = DeleteOptions(propagation="Background")


class Client:
    def __init__(self, objects: Objects, schema: Schema, deletions: Deletions) -> None:
        self.objects = objects
        self._schema = schema
        self._deletions = deletions

    def create(self, kind: Kind, obj: Object, writer: Writer = MANAGER) -> Stored | None:
        """None when the namespace is absent or terminating, or the name is taken."""
        metadata = obj["metadata"]
        namespace = metadata.get("namespace", "")
        if kind.namespaced:
            home = self.objects.get(NAMESPACE, ("", namespace))
            if home is None or home.obj["metadata"].get("deletionTimestamp"):
                return None
        obj = {"apiVersion": kind.api_version, "kind": kind.name} | obj
        strategy.prepare_create(kind, obj)
        defaults.apply(kind, obj)
        if self.objects.get(kind, key_of(obj)) is not None:
            return None
        if kind is not EVENT:
            obj = managed.track_update(self._schema.roots[kind.key], None, obj, writer, clock.now())
        return self.objects.put(kind, obj)

    def update(self, kind: Kind, old: Stored, obj: Object, writer: Writer = MANAGER) -> Stored:
        """Stores `obj`, which shares what did not change with `old`; nothing is written when nothing changed."""
        if obj == old.obj:
            return old
        if not writer.subresource and kind.generation and obj.get("spec") != old.obj.get("spec"):
            generation = old.obj["metadata"].get("generation", 0) + 1
            obj = obj | {"metadata": obj["metadata"] | {"generation": generation}}
        if kind is not EVENT:
            obj = managed.track_update(self._schema.roots[kind.key], old.obj, obj, writer, clock.now())
        return self.objects.put(kind, obj)

    def set_status(self, kind: Kind, old: Stored, status: Object, writer: Writer = MANAGER_STATUS) -> Stored:
        if status == old.obj.get("status"):
            return old
        return self.update(kind, old, old.obj | {"status": status}, writer)

    def set_metadata(self, kind: Kind, old: Stored, **changes: Any) -> Stored:
        """Replaces fields of the metadata; None removes one. An object whose last finalizer goes is removed."""
        metadata = {name: value for name, value in (old.obj["metadata"] | changes).items() if value is not None}
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            return self._deletions.remove(kind, key_of(old.obj))
        return self.update(kind, old, old.obj | {"metadata": metadata})

    def delete(self, kind: Kind, stored: Stored, options: DeleteOptions = _BACKGROUND) -> None:
        self._deletions.delete(kind, key_of(stored.obj), options)

    def remove(self, kind: Kind, stored: Stored) -> None:
        """Takes the object out at once, with or without finalizers."""
        self._deletions.remove(kind, key_of(stored.obj))


def owner_reference(kind: Kind, owner: Object) -> Object:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def controller_of(obj: Object) -> Object | None:
    """The owner reference of the controller, if the object has one."""
    references: list[Object] = obj["metadata"].get("ownerReferences") or []
    return next((reference for reference in references if reference.get("controller")), None)
