"""JSON Merge Patch (RFC 7396)."""

from collections.abc import Mapping

from pydantic import JsonValue


def merge(target: JsonValue, patch: JsonValue) -> JsonValue:
    """The target with the patch in it: members of objects are merged, null removes one, all else is replaced.

    The members of the target keep their order.
    """
    if not isinstance(patch, Mapping):
        return patch
    merged: dict[str, JsonValue] = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged
