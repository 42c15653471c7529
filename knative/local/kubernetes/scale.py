"""The subresource `scale`: one number of a Deployment, ReplicaSet or StatefulSet, in the shape of autoscaling/v1."""

from typing import Any

from knative.local.kubernetes import errors, patch, selectors
from knative.local.kubernetes.decode import Strictness, parse_json
from knative.local.kubernetes.kinds import Kind
from knative.local.kubernetes.objects import Object, Stored
from knative.local.kubernetes.writes import APPLY, JSON_PATCH


def of(stored: Stored) -> Object:
    obj = stored.obj
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    replicas = obj["spec"].get("replicas", 0)
    selector = selectors.text_of(selectors.of_object(obj["spec"].get("selector")))
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {"replicas": replicas} if replicas else {},
        "status": {"replicas": obj.get("status", {}).get("replicas", 0), "selector": selector},
    }


def changed(kind: Kind, stored: Stored, body: bytes, content_type: str) -> Object:
    """The object with the replicas that a PUT (no content type) or PATCH of its scale asks for. Raises 400, 409, 415,
    422.
    """
    change = parse_json(body, Strictness())
    before = of(stored)
    if not content_type:
        after = change
    elif content_type == APPLY:
        raise errors.unsupported_media_type(("application/merge-patch+json", JSON_PATCH))
    else:
        after = patch.json_patch(before, change) if content_type == JSON_PATCH else patch.merge_patch(before, change)
    if not isinstance(after, dict) or after.get("kind", "Scale") != "Scale":
        raise errors.bad_request("the body must be a Scale of autoscaling/v1")
    metadata: Any = after.get("metadata") or {}
    name = stored.obj["metadata"]["name"]
    version = metadata.get("resourceVersion")
    if version and version != str(stored.revision):
        raise errors.conflict(kind.plural, kind.group, name, errors.STALE)
    uid = metadata.get("uid")
    if uid and uid != stored.obj["metadata"]["uid"]:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {stored.obj['metadata']['uid']}"
        raise errors.conflict(kind.plural, kind.group, name, why)
    replicas = (after.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        shown = "string" if isinstance(replicas, str) else "value"
        why = f"json: cannot unmarshal {shown} into Go struct field ScaleSpec.spec.replicas of type int32"
        if content_type:
            raise errors.unfit_patch(after, why)
        raise errors.bad_request(f'Scale in version "v1" cannot be handled as a Scale: {why}')
    if replicas < 0:
        cause = errors.Cause.invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise errors.invalid("Scale", "autoscaling", name, [cause])
    return stored.obj | {"spec": stored.obj["spec"] | {"replicas": replicas}}
