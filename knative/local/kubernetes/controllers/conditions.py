"""Conditions in a status: found by type; the transition time moves only when the status does."""

from typing import Any

Object = dict[str, Any]


def find(status: Object, type_: str) -> Object | None:
    return next((condition for condition in status.get("conditions") or () if condition.get("type") == type_), None)


def is_true(status: Object, type_: str) -> bool:
    condition = find(status, type_)
    return condition is not None and condition.get("status") == "True"


def condition(type_: str, status: bool, reason: str, message: str, now: str) -> Object:
    return {
        "type": type_,
        "status": "True" if status else "False",
        "reason": reason,
        "message": message,
        "lastTransitionTime": now,
    }


def put(conditions: list[Object], new: Object) -> list[Object]:
    """`conditions` with `new` in the place of its type; an equal status keeps its transition time."""
    result = []
    placed = False
    for old in conditions:
        if old.get("type") != new["type"]:
            result.append(old)
            continue
        placed = True
        if old.get("status") == new["status"]:
            new = new | {"lastTransitionTime": old.get("lastTransitionTime", new["lastTransitionTime"])}
        result.append(new)
    return result if placed else [*result, new]
