"""The patches that are not server-side apply: JSON merge patch, JSON patch, and Kubernetes' strategic merge patch."""

import json
from typing import Any

import jsonpatch

from knative.local.kubernetes.errors import ApiError, bad_request
from knative.local.kubernetes.schema import ANY, ListOf, MapOf, Struct, Type


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396: null removes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


def json_patch(target: Any, operations: Any) -> Any:
    """RFC 6902. Raises 400 on a malformed patch, 422 on one that does not fit."""
    if not isinstance(operations, list) or not all(isinstance(operation, dict) for operation in operations):
        raise bad_request("the body of a JSON patch must be an array of operations")
    try:
        return jsonpatch.apply_patch(target, operations)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
        message = f"the server rejected our request due to an error in our request: {error}"
        raise ApiError(422, "Invalid", message) from error


def strategic_patch(type_: Type, target: Any, patch: Any) -> Any:
    """A merge patch that merges lists by their merge key, and knows the directives that `kubectl` sends.

    These are `$patch: delete`, `$patch: replace`, `$retainKeys` and `$setElementOrder/<field>`. The last one is
    ignored: items that are new stand at the end.
    """
    if isinstance(type_, ListOf) and isinstance(patch, list):
        return _strategic_list(type_, target if isinstance(target, list) else [], patch)
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) and patch.get("$patch") is None else {}
    if isinstance(retained := patch.get("$retainKeys"), list):
        result = {name: value for name, value in result.items() if name in retained}
    for name, value in patch.items() if patch.get("$patch") != "delete" else ():
        if name.startswith("$"):
            continue
        if value is None:
            result.pop(name, None)
        else:
            result[name] = strategic_patch(_child(type_, name), result.get(name), value)
    return result


def _child(type_: Type, name: str) -> Type:
    if isinstance(type_, Struct):
        return type_.fields.get(name, ANY)
    return type_.element if isinstance(type_, MapOf) else ANY


def _strategic_list(type_: ListOf, target: list[Any], patch: list[Any]) -> list[Any]:
    if type_.relation == "set":
        return target + [item for item in patch if item not in target]
    key = type_.patch_key
    if not key:
        return patch
    result = list(target)
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise ApiError(500, "", f"map: {json.dumps(item)} does not contain declared merge key: {key}")
        at = next((index for index, old in enumerate(result) if old.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            result = [old for old in result if old.get(key) != item[key]]
        elif at is None:
            result.append(strategic_patch(type_.element, {}, item))
        else:
            result[at] = strategic_patch(type_.element, result[at], item)
    return result
