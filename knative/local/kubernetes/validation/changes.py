"""What of an existing object cannot be changed."""

from typing import Any

from knative.local.kubernetes.errors import Cause
from knative.local.kubernetes.kinds import DEPLOYMENT, JOB, POD, REPLICA_SET, STATEFUL_SET, Kind

Object = dict[str, Any]

_IMMUTABLE: dict[Kind, tuple[str, ...]] = {
    DEPLOYMENT: ("selector",),
    REPLICA_SET: ("selector",),
    STATEFUL_SET: ("serviceName", "selector", "podManagementPolicy", "volumeClaimTemplates"),
    JOB: ("completions", "completionMode", "selector", "template"),
}
_POD_RULE = (
    "pod updates may not change fields other than `spec.containers[*].image`, `spec.activeDeadlineSeconds`, "
    "`spec.tolerations` and `spec.terminationGracePeriodSeconds`"
)


def check(kind: Kind, obj: Object, old: Object) -> list[Cause]:
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    if kind is POD:
        changed = _immutable_part(spec) != _immutable_part(before)
        return [Cause.forbidden("spec", _POD_RULE)] if changed else []
    names = _IMMUTABLE.get(kind, ())
    if spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism"):
        names = names[1:]  # an Indexed Job may be scaled
    return [
        Cause.invalid(f"spec.{name}", spec.get(name), "field is immutable")
        for name in names
        if spec.get(name) != before.get(name)
    ]


def _immutable_part(spec: Object) -> Object:
    """The spec of a pod without what an update may change."""
    mutable = ("activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations", "containers")
    rest = {name: value for name, value in spec.items() if name not in mutable}
    containers = [{k: v for k, v in c.items() if k != "image"} for c in spec.get("containers") or ()]
    return rest | {"containers": containers}
