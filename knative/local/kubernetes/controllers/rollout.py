"""How many replicas the ReplicaSets of a Deployment should have next. Pure.

The rules are those of the real controller. Surge is rounded up, unavailability down; when both come to nothing, one
pod may be unavailable, or nothing would ever move.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

HASH = "pod-template-hash"
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(frozen=True)
class Bounds:
    """`surge` pods above the desired number, `unavailable` below it."""

    surge: int
    unavailable: int


def bounds(spec: Mapping[str, Any]) -> Bounds:
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    replicas = spec["replicas"]
    surge = _scaled(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = _scaled(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    return Bounds(surge, 1 if surge == 0 and unavailable == 0 else min(unavailable, replicas))


def _scaled(value: int | str, total: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    share = int(value.removesuffix("%")) * total / 100
    return math.ceil(share) if up else math.floor(share)


def new_replicas(spec: Mapping[str, Any], current: int, total: int) -> int:
    """Replicas of the newest ReplicaSet, which has `current` of the Deployment's `total`."""
    desired: int = spec["replicas"]
    if current > desired:
        return desired
    room = desired + bounds(spec).surge - total
    return current if room <= 0 else current + min(room, desired - current)


@dataclass(frozen=True)
class Old:
    """An old ReplicaSet: what it should have, and how many of its pods are available."""

    replicas: int
    available: int


def old_replicas(spec: Mapping[str, Any], new: int, new_available: int, olds: list[Old]) -> list[int]:
    """Replicas of the old ReplicaSets (oldest first): unhealthy pods go first, then as many as availability allows."""
    desired: int = spec["replicas"]
    least = desired - bounds(spec).unavailable
    total = new + sum(old.replicas for old in olds)
    removable = max(0, total - least - (new - new_available))
    result = []
    for old in olds:
        unhealthy = min(max(0, old.replicas - old.available), removable)
        removable -= unhealthy
        result.append(old.replicas - unhealthy)
    available = new_available + sum(min(old.available, left) for old, left in zip(olds, result, strict=True))
    spare = max(0, available - least)
    for index, left in enumerate(result):
        gone = min(left, spare)
        result[index] -= gone
        spare -= gone
    return result


def template_hash(template: Mapping[str, Any]) -> str:
    """A short name for a template, from letters that spell no words."""
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    digest = hashlib.blake2b(text.encode(), digest_size=10).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest)


def same_template(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    """Whether two templates are equal but for the hash label."""
    if left.get("spec") != right.get("spec"):
        return False
    return _bare(left.get("metadata") or {}) == _bare(right.get("metadata") or {})


def _bare(metadata: Mapping[str, Any]) -> Object:
    labels = {name: value for name, value in (metadata.get("labels") or {}).items() if name != HASH}
    return {name: value for name, value in metadata.items() if name != "labels"} | {"labels": labels}
