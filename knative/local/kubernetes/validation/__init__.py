"""What the API refuses with 422, per kind: the rules that objects of the served kinds can break in practice.

`check` collects every cause, as the real server does, so that a user sees all that is wrong at once.
"""

from typing import Any

from knative.local.kubernetes.errors import Cause, invalid
from knative.local.kubernetes.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    JOB,
    NODE,
    POD,
    REPLICA_SET,
    SECRET,
    SERVICE,
    STATEFUL_SET,
    Kind,
)
from knative.local.kubernetes.validation import changes, metadata, others, pods, workloads

Object = dict[str, Any]

_RULES = {
    POD: pods.pod,
    DEPLOYMENT: workloads.deployment,
    REPLICA_SET: workloads.replica_set,
    STATEFUL_SET: workloads.stateful_set,
    JOB: workloads.job,
    SERVICE: others.service,
    CONFIG_MAP: others.config_map,
    SECRET: others.secret,
    NODE: others.node,
}


def check_create(kind: Kind, obj: Object) -> None:
    """Raises 422 when `obj`, defaulted, cannot be created."""
    causes = metadata.check(kind, obj)
    rule = _RULES.get(kind)
    if rule is not None:
        causes += rule(obj)
    _refuse(kind, obj, causes)


def check_update(kind: Kind, obj: Object, old: Object) -> None:
    """Raises 422 when `old` cannot become `obj`."""
    causes = metadata.check(kind, obj) + metadata.check_update(obj, old)
    rule = _RULES.get(kind)
    if rule is not None:
        causes += rule(obj)
    causes += changes.check(kind, obj, old)
    _refuse(kind, obj, causes)


def _refuse(kind: Kind, obj: Object, causes: list[Cause]) -> None:
    if causes:
        unique = list(dict.fromkeys(causes))
        raise invalid(kind.name, kind.group, obj["metadata"].get("name", ""), unique)
