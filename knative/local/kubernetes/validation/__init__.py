"""What the API refuses with 422, per kind: the rules that objects of the served kinds can break in practice.

A check collects every cause, as the real server does, so that a user sees everything that is wrong at once. Besides
the rules of Kubernetes it refuses what the controllers here do not implement (see `unsupported`).
"""

from typing import Any

from knative.local.kubernetes.errors import Cause, invalid
from knative.local.kubernetes.kinds import CONFIG_MAP, DEPLOYMENT, JOB, NODE, POD, REPLICA_SET, STATEFUL_SET, Kind
from knative.local.kubernetes.validation import changes, metadata, pods, unsupported, workloads

Object = dict[str, Any]

_RULES = {
    POD: pods.pod,
    DEPLOYMENT: workloads.deployment,
    REPLICA_SET: workloads.replica_set,
    STATEFUL_SET: workloads.stateful_set,
    JOB: workloads.job,
    CONFIG_MAP: metadata.config_map,
    NODE: metadata.node,
}


def check_create(kind: Kind, obj: Object) -> None:
    """Raises 422 when `obj`, defaulted, cannot be created."""
    _refuse(kind, obj, _check(kind, obj))


def check_update(kind: Kind, obj: Object, old: Object) -> None:
    """Raises 422 when `old` cannot become `obj`."""
    _refuse(kind, obj, _check(kind, obj) + metadata.check_update(obj, old) + changes.check(kind, obj, old))


def _check(kind: Kind, obj: Object) -> list[Cause]:
    causes = metadata.check(kind, obj)
    if rule := _RULES.get(kind):
        causes += rule(obj)
    return causes + unsupported.check(kind, obj)


def _refuse(kind: Kind, obj: Object, causes: list[Cause]) -> None:
    if causes:
        unique = list(dict.fromkeys(causes))
        raise invalid(kind.name, kind.group, obj["metadata"].get("name", ""), unique)
