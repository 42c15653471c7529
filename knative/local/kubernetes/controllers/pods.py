"""What the controllers ask of pods, and how they make them from a template."""

from copy import deepcopy
from typing import Any

from knative.local.kubernetes import strategy
from knative.local.kubernetes.controllers import conditions
from knative.local.kubernetes.controllers.client import owner_reference
from knative.local.kubernetes.kinds import Kind

Object = dict[str, Any]


def is_terminating(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def is_finished(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def is_active(pod: Object) -> bool:
    return not is_finished(pod) and not is_terminating(pod)


def is_ready(pod: Object) -> bool:
    return conditions.is_true(pod.get("status", {}), "Ready")


def is_available(pod: Object) -> bool:
    """A pod that is ready is available at once: `minReadySeconds` is not implemented."""
    return is_ready(pod) and not is_terminating(pod)


def from_template(kind: Kind, owner: Object, name: str = "", *, infix: str = "") -> Object:
    """A pod of the owner's template; it is named `<owner>-<infix><random>` unless a name is given."""
    template = deepcopy(owner["spec"]["template"])  # defaulting changes what it is given
    prefix = f"{owner['metadata']['name']}-"
    if infix:  # stays whole where a long name is cut
        prefix = f"{owner['metadata']['name'][: 57 - len(infix)]}-{infix}"
    head = template.get("metadata") or {}
    metadata: Object = {
        **{part: head[part] for part in ("labels", "annotations") if part in head},
        "name": name or prefix[:58] + strategy.random_suffix(),
        "namespace": owner["metadata"]["namespace"],
        "ownerReferences": [owner_reference(kind, owner)],
    }
    if not name:
        metadata["generateName"] = prefix
    return {"metadata": metadata, "spec": template["spec"]}
