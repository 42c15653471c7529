"""What of an existing object cannot be changed."""

from typing import Any

from knative.local.kubernetes.errors import Cause
from knative.local.kubernetes.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    JOB,
    POD,
    REPLICA_SET,
    SECRET,
    STATEFUL_SET,
    Kind,
)

Object = dict[str, Any]

_STATEFUL_MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_STATEFUL_RULE = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_POD_RULE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_IMMUTABLE = "field is immutable"


def check(kind: Kind, obj: Object, old: Object) -> list[Cause]:
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    if kind in (DEPLOYMENT, REPLICA_SET):
        return _unchanged(("selector",), spec, before)
    if kind is JOB:
        suspended = bool(before.get("suspend")) and not (old.get("status") or {}).get("startTime")
        fields: tuple[str, ...] = (
            "completions",
            "completionMode",
            "selector",
            "podFailurePolicy",
        )
        if spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism"):
            fields = fields[1:]
        causes = _unchanged(fields, spec, before)
        return causes + ([] if suspended else _unchanged(("template",), spec, before))
    if kind is STATEFUL_SET:
        causes = _unchanged(("serviceName", "selector", "podManagementPolicy"), spec, before)
        if causes:
            return causes
        fixed = [name for name in {*spec, *before} if name not in _STATEFUL_MUTABLE]
        if any(spec.get(name) != before.get(name) for name in fixed):
            return [Cause.forbidden("spec", _STATEFUL_RULE)]
    if kind is POD and spec != before and _mutable_apart(spec) != _mutable_apart(before):
        return [Cause.forbidden("spec", _POD_RULE)]
    if kind in (CONFIG_MAP, SECRET) and old.get("immutable"):
        return [
            Cause.forbidden(name, "field is immutable when `immutable` is set")
            for name in ("immutable", "data", "binaryData")
            if obj.get(name) != old.get(name)
        ]
    if kind is SECRET:
        return [] if obj.get("type") == old.get("type") else [Cause.invalid("type", obj.get("type"), _IMMUTABLE)]
    return []


def _unchanged(names: tuple[str, ...], spec: Object, before: Object) -> list[Cause]:
    return [
        Cause.invalid(f"spec.{name}", spec.get(name), _IMMUTABLE)
        for name in names
        if spec.get(name) != before.get(name)
    ]


def _mutable_apart(spec: Object) -> Object:
    """The spec of a pod without what an update may change."""
    rest = {
        name: value
        for name, value in spec.items()
        if name not in ("activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations")
    }
    for name in ("containers", "initContainers"):
        rest[name] = [{k: v for k, v in c.items() if k != "image"} for c in spec.get(name) or ()]
    return rest
