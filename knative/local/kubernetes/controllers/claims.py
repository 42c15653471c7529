"""Which pods belong to a ReplicaSet or StatefulSet: those it owns and still selects, and orphans that it selects.

A pod whose labels were changed away from the selector is let go: it lives on without an owner, and is replaced.
"""

from collections.abc import Callable
from typing import Any

from knative.local.kubernetes import selectors
from knative.local.kubernetes.controllers import pods
from knative.local.kubernetes.controllers.actor import Actor, controller_of, owner_reference
from knative.local.kubernetes.kinds import POD, Kind
from knative.local.kubernetes.objects import Stored

Object = dict[str, Any]


def claim(actor: Actor, kind: Kind, owner: Object, fits: Callable[[Object], bool] = lambda _: True) -> list[Stored]:
    """The pods of `owner`, an object of `kind`; of the orphans only those that `fits` accepts are adopted."""
    uid = owner["metadata"]["uid"]
    owned = actor.objects.owned(POD, uid)
    if "deletionTimestamp" in owner["metadata"]:
        return owned
    selector = selectors.of_object(owner["spec"]["selector"])
    claimed = []
    for stored in owned:
        metadata = stored.obj["metadata"]
        if selectors.matches(selector, metadata.get("labels")):
            claimed.append(stored)
        else:
            _release(actor, stored, uid)
    pairs = selectors.equalities(selector)
    namespace = owner["metadata"]["namespace"]
    for stored in actor.objects.labelled(POD, pairs) if pairs else ():
        metadata = stored.obj["metadata"]
        if (
            metadata["namespace"] == namespace
            and controller_of(stored.obj) is None
            and pods.is_active(stored.obj)
            and fits(stored.obj)
            and selectors.matches(selector, metadata.get("labels"))
        ):
            references = [*(metadata.get("ownerReferences") or ()), owner_reference(kind, owner)]
            claimed.append(actor.set_metadata(POD, stored, ownerReferences=references))
    return claimed


def _release(actor: Actor, stored: Stored, uid: str) -> None:
    metadata = {name: value for name, value in stored.obj["metadata"].items() if name != "ownerReferences"}
    others = [owner for owner in stored.obj["metadata"]["ownerReferences"] if owner["uid"] != uid]
    if others:
        metadata["ownerReferences"] = others
    actor.update(POD, stored, stored.obj | {"metadata": metadata})
