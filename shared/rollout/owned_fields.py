"""The fields that Sentinel owns of an object: what its manifest names. Pure.

Replicas are left out: an autoscaler may scale. So are annotations: they name the revision, which is compared by itself.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_KEYS = ("name", "containerPort", "mountPath", "key")
"""What tells the items of Kubernetes' lists apart: containers, variables and volumes; ports; mounts."""

_ABSENT = {"absent": True}


def owned_digest(manifest: Mapping[str, Any], live: Mapping[str, Any]) -> str:
    """A digest of the values that an object has in the fields that a manifest names."""
    wanted = {"labels": manifest["metadata"].get("labels", {}), "spec": dict(manifest["spec"])}
    wanted["spec"].pop("replicas", None)
    there = {"labels": live["metadata"].get("labels") or {}, "spec": live.get("spec", {})}
    text = json.dumps(_projection(wanted, there), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _projection(wanted: object, there: object) -> object:
    """The part of `there` that `wanted` names."""
    if isinstance(wanted, Mapping) and isinstance(there, Mapping):
        return {key: _projection(value, there.get(key, _ABSENT)) for key, value in wanted.items()}
    if isinstance(wanted, list) and isinstance(there, list) and (key := _merge_key(wanted)) is not None:
        items = {str(item.get(key)): item for item in there if isinstance(item, Mapping)}
        return {str(item[key]): _projection(item, items.get(str(item[key]), _ABSENT)) for item in wanted}
    return there


def _merge_key(items: list[Any]) -> str | None:
    if not items or not all(isinstance(item, Mapping) for item in items):
        return None
    return next((key for key in _KEYS if all(key in item for item in items)), None)
