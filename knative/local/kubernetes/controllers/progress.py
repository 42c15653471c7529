"""The status of a Deployment: counts, and the conditions Available and Progressing. Pure."""

from typing import Any

from knative.local.kubernetes import clock
from knative.local.kubernetes.controllers import conditions, rollout
from knative.local.kubernetes.objects import Stored

Object = dict[str, Any]

_DEADLINE_REASON = "ProgressDeadlineExceeded"
_OURS = ("Available", "Progressing")
_COMPARED = ("status", "reason", "message")


def deployment_status(
    deployment: Object, new: Stored | None, olds: list[Stored], now: str
) -> tuple[Object, float | None]:
    """The status, and the seconds until the progress deadline has to be checked."""
    spec, old = deployment["spec"], deployment.get("status", {})
    sets = [*olds, *([new] if new is not None else [])]
    counts = {
        name: sum(s.obj.get("status", {}).get(name, 0) for s in sets)
        for name in ("replicas", "readyReplicas", "availableReplicas", "terminatingReplicas")
    }
    updated = 0 if new is None else new.obj.get("status", {}).get("replicas", 0)
    available = counts["availableReplicas"]
    status: Object = {"observedGeneration": deployment["metadata"]["generation"]}
    shown = {
        "replicas": counts["replicas"],
        "updatedReplicas": updated,
        "readyReplicas": counts["readyReplicas"],
        "availableReplicas": available,
        "unavailableReplicas": max(0, sum(s.obj["spec"]["replicas"] for s in sets) - available),
    }
    status |= {name: count for name, count in shown.items() if count}
    status["terminatingReplicas"] = counts["terminatingReplicas"]
    if "collisionCount" in old:
        status["collisionCount"] = old["collisionCount"]
    listed = conditions.put(old.get("conditions") or [], _available(spec, available, now))
    progressing, wait = _progressing(deployment, old, shown, new, now)
    if progressing is not None:
        listed = conditions.put(listed, progressing)
    status["conditions"] = _timed(listed, old.get("conditions") or [], now)
    return status, wait


def _available(spec: Object, available: int, now: str) -> Object:
    if available >= spec["replicas"] - rollout.bounds(spec).unavailable:
        message = "Deployment has minimum availability."
        return conditions.condition("Available", True, "MinimumReplicasAvailable", message, now)
    message = "Deployment does not have minimum availability."
    return conditions.condition("Available", False, "MinimumReplicasUnavailable", message, now)


def _progressing(
    deployment: Object, old: Object, shown: dict[str, int], new: Stored | None, now: str
) -> tuple[Object | None, float | None]:
    spec = deployment["spec"]
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is None or deadline >= 2**31 - 1:
        return None, None
    before = conditions.find(old, "Progressing")
    name = "" if new is None else new.obj["metadata"]["name"]
    if _is_complete(deployment, shown):
        message = f'ReplicaSet "{name}" has successfully progressed.'
        return conditions.condition("Progressing", True, "NewReplicaSetAvailable", message, now), None
    if before is None or _moved(old, shown) or _new_rollout(deployment, old, before):
        message = f'ReplicaSet "{name}" is progressing.'
        reason = "ReplicaSetUpdated"
        if before is None or (_new_rollout(deployment, old, before) and not _moved(old, shown)):
            message, reason = f'Created new replica set "{name}"', "NewReplicaSetCreated"
        return conditions.condition("Progressing", True, reason, message, now), float(deadline)
    if before.get("reason") == _DEADLINE_REASON:
        return before, None
    left = deadline - clock.age(before.get("lastUpdateTime", now))
    if left > 0:
        return before, left
    message = f'ReplicaSet "{name}" has timed out progressing.'
    return conditions.condition("Progressing", False, _DEADLINE_REASON, message, now), None


def _is_complete(deployment: Object, shown: dict[str, int]) -> bool:
    desired: int = deployment["spec"]["replicas"]
    return shown["updatedReplicas"] == shown["replicas"] == shown["availableReplicas"] == desired


def _moved(old: Object, shown: dict[str, int]) -> bool:
    """Whether pods were made, removed or became ready since the last status."""
    before = {name: old.get(name, 0) for name in shown}
    stale = before["replicas"] - before["updatedReplicas"]
    return bool(
        shown["updatedReplicas"] > before["updatedReplicas"]
        or shown["replicas"] - shown["updatedReplicas"] < stale
        or shown["readyReplicas"] > before["readyReplicas"]
        or shown["availableReplicas"] > before["availableReplicas"]
    )


def _new_rollout(deployment: Object, old: Object, before: Object) -> bool:
    generation: int = deployment["metadata"]["generation"]
    return bool(
        generation != old.get("observedGeneration")
        and before.get("reason") in ("NewReplicaSetAvailable", _DEADLINE_REASON)
    )


def _timed(listed: list[Object], before: list[Object], now: str) -> list[Object]:
    """Every condition with its update time, which moves when status, reason or message do.

    Conditions of others stay as they are.
    """
    known = {condition["type"]: condition for condition in before}
    result = []
    for condition in listed:
        if condition["type"] not in _OURS:
            result.append(condition)
            continue
        old = known.get(condition["type"])
        same = old is not None and all(old.get(name) == condition.get(name) for name in _COMPARED)
        moment = old.get("lastUpdateTime", now) if same and old is not None else now
        result.append(condition | {"lastUpdateTime": moment})
    return result
