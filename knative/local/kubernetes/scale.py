"""The subresource `scale`: the replicas of a Deployment or StatefulSet, in the shape of autoscaling/v1."""

from knative.local.kubernetes import errors, selectors
from knative.local.kubernetes.objects import Object, Stored


def of(stored: Stored) -> Object:
    obj = stored.obj
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    replicas = obj["spec"].get("replicas", 0)
    selector = selectors.text_of(selectors.of_object(obj["spec"].get("selector")))
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: obj["metadata"][name] for name in kept},
        "spec": {"replicas": replicas} if replicas else {},
        "status": {"replicas": obj.get("status", {}).get("replicas", 0), "selector": selector},
    }


def as_owned(obj: Object) -> Object:
    """The object as field ownership sees it through its Scale, which omits 0 replicas: nobody comes to own them."""
    spec = obj["spec"]
    return obj if spec.get("replicas") else obj | {"spec": {k: v for k, v in spec.items() if k != "replicas"}}


def replicas_of(scale: Object, name: str) -> int:
    """The replicas that a decoded Scale asks for; an absent number is 0. Raises 422."""
    replicas: int = (scale.get("spec") or {}).get("replicas", 0)
    if replicas < 0:
        cause = errors.Cause.invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise errors.invalid("Scale", "autoscaling", name, [cause])
    return replicas
