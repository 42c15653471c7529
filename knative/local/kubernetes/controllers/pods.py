"""What the controllers ask of pods, and how they make them from a template."""

from typing import Any

from knative.local.kubernetes import clock, strategy
from knative.local.kubernetes.controllers import conditions
from knative.local.kubernetes.controllers.actor import owner_reference
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


def available_in(pod: Object, min_ready_seconds: int) -> float | None:
    """Seconds until the pod counts as available: 0 when it does, None while it is not ready."""
    ready = conditions.find(pod.get("status", {}), "Ready")
    if ready is None or ready["status"] != "True" or is_terminating(pod):
        return None
    if not min_ready_seconds:
        return 0.0
    since = ready.get("lastTransitionTime")
    return max(0.0, min_ready_seconds - clock.age(since)) if since else float(min_ready_seconds)


def from_template(kind: Kind, owner: Object, template: Object, name: str = "", *, infix: str = "") -> Object:
    """A pod of the template, owned by `owner`; named `<owner>-<infix><random>` unless a name is given."""
    head = template.get("metadata") or {}
    prefix = f"{owner['metadata']['name']}-"
    if infix:  # stays whole where a long name is cut
        prefix = f"{owner['metadata']['name'][: 57 - len(infix)]}-{infix}"
    metadata: Object = {
        "name": name or prefix[:58] + strategy.random_suffix(),
        "namespace": owner["metadata"]["namespace"],
        "ownerReferences": [owner_reference(kind, owner)],
    }
    if not name:
        metadata["generateName"] = prefix
    for part in ("labels", "annotations", "finalizers"):
        if head.get(part):
            metadata[part] = head[part].copy()
    return {"metadata": metadata, "spec": _fresh(template["spec"])}


def _fresh(value: Any) -> Any:
    """A deep copy of JSON: defaulting changes what it is given."""
    if isinstance(value, dict):
        return {name: _fresh(item) for name, item in value.items()}
    return [_fresh(item) for item in value] if isinstance(value, list) else value
