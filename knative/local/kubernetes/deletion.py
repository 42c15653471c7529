"""Deletion: preconditions, propagation, finalizers, and the grace that pods and namespaces have."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from knative.local.kubernetes import clock, errors
from knative.local.kubernetes.decode import parse_json
from knative.local.kubernetes.kinds import EVENT, JOB, NAMESPACE, NODE, POD, Kind
from knative.local.kubernetes.objects import Key, Object, Objects, Stored

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
_POLICIES = ("Foreground", "Background", "Orphan")
JOB_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)
_KEPT_NAMESPACES = ("default", "kube-public", "kube-system")


@dataclass(frozen=True)
class DeleteOptions:
    """`propagation` is "" when the request does not name it; `grace` is in seconds."""

    propagation: str = ""
    uid: str = ""
    revision: str = ""
    grace: int | None = None
    dry_run: bool = False


def parse(body: bytes, query: Mapping[str, str]) -> DeleteOptions:
    """Options from the body; `dryRun` may stand in the query as well. Raises 400, 422."""
    raw: Any = parse_json(body) if body.strip() else {}
    if not isinstance(raw, dict):
        raise errors.bad_request("the body of a delete must be DeleteOptions")
    preconditions = raw.get("preconditions") or {}
    if not isinstance(preconditions, dict):
        raise errors.bad_request("preconditions must be an object with uid or resourceVersion")
    propagation = raw.get("propagationPolicy") or ""
    dry_run = raw.get("dryRun") or ([query["dryRun"]] if query.get("dryRun") else [])
    causes = []
    if propagation and propagation not in _POLICIES:
        causes.append(errors.Cause.unsupported("propagationPolicy", propagation, (*_POLICIES, "nil")))
    if dry_run and dry_run != ["All"]:
        causes.append(errors.Cause.unsupported("dryRun", dry_run, ("All",)))
    if causes:
        raise errors.invalid("DeleteOptions", "meta.k8s.io", "", causes)
    grace = raw.get("gracePeriodSeconds")
    if grace is not None and not isinstance(grace, int):
        raise errors.bad_request(f"gracePeriodSeconds must be a number, not {grace!r}")
    uid, version = str(preconditions.get("uid") or ""), str(preconditions.get("resourceVersion") or "")
    return DeleteOptions(propagation, uid, version, grace, bool(dry_run))


class Deletions:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def delete(self, kind: Kind, key: Key, options: DeleteOptions) -> tuple[Stored, bool]:
        """The object as it was left, and whether it is gone. Raises 403, 404, 409."""
        stored = self._objects.get(kind, key)
        if stored is None:
            raise errors.not_found(kind.plural, kind.group, key[1])
        if kind is NAMESPACE and key[1] in _KEPT_NAMESPACES:
            raise errors.forbidden(kind.plural, kind.group, key[1], "this namespace may not be deleted")
        self._check(kind, stored, options)
        finalizers = self._finalizers(kind, stored.obj, options)
        grace = self._grace(kind, stored.obj, options)
        keeps = bool(finalizers) or grace > 0 or (kind is NAMESPACE and bool(stored.obj["spec"].get("finalizers")))
        if options.dry_run:
            return stored, not keeps
        if not keeps:
            return self.remove(kind, key), True
        marked = self._marked(kind, stored.obj, finalizers, grace)
        return (stored if marked == stored.obj else self._objects.put(kind, marked)), False

    def remove(self, kind: Kind, key: Key) -> Stored:
        """Takes the object out of the store, with or without finalizers."""
        return self._objects.delete(kind, key)

    @staticmethod
    def _check(kind: Kind, stored: Stored, options: DeleteOptions) -> None:
        metadata = stored.obj["metadata"]
        why = ""
        if options.uid and options.uid != metadata["uid"]:
            why = (
                f"the UID in the precondition ({options.uid}) does not match the UID in record ({metadata['uid']}). "
                "The object might have been deleted and then recreated"
            )
        elif options.revision and options.revision != str(stored.revision):
            why = (
                f"the ResourceVersion in the precondition ({options.revision}) does not match "
                f"the ResourceVersion in record ({stored.revision}). The object might have been modified"
            )
        if why:
            raise errors.conflict(kind.name, kind.group, metadata["name"], why)

    @staticmethod
    def _finalizers(kind: Kind, obj: Object, options: DeleteOptions) -> list[str]:
        existing: list[str] = obj["metadata"].get("finalizers") or []
        if kind is EVENT:  # it neither owns nor is owned
            return existing
        policy = options.propagation
        if not policy:
            if FOREGROUND in existing or ORPHAN in existing:
                return existing
            policy = "Orphan" if kind is JOB else "Background"
        kept = [name for name in existing if name not in (FOREGROUND, ORPHAN)]
        if policy == "Foreground":
            return [*kept, FOREGROUND]
        return [*kept, ORPHAN] if policy == "Orphan" else kept

    @staticmethod
    def _grace(kind: Kind, obj: Object, options: DeleteOptions) -> int:
        """Seconds that a running pod is given; everything else, and a pod on no node, goes at once."""
        if kind is not POD or not obj["spec"].get("nodeName"):
            return 0
        if obj.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            return 0
        if options.grace is not None:
            return max(options.grace, 0)
        return int(obj["spec"].get("terminationGracePeriodSeconds", 30))

    @staticmethod
    def _marked(kind: Kind, obj: Object, finalizers: list[str], grace: int) -> Object:
        metadata = {name: value for name, value in obj["metadata"].items() if name != "finalizers"}
        if finalizers:
            metadata["finalizers"] = finalizers
        if "deletionTimestamp" not in metadata:
            metadata["deletionTimestamp"] = clock.after(grace)
            if kind not in (NAMESPACE, NODE):
                metadata["deletionGracePeriodSeconds"] = grace
            if metadata.get("generation"):
                metadata["generation"] += 1
        marked = obj | {"metadata": metadata}
        if kind is NAMESPACE:
            marked["status"] = obj.get("status", {}) | {"phase": "Terminating"}
        return marked
