"""The patches that are not server-side apply: JSON merge patch, JSON patch, and Kubernetes' strategic merge patch."""

import json
from copy import deepcopy
from typing import Any

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
    if not isinstance(operations, list):
        raise bad_request("the body of a JSON patch must be an array of operations")
    result = deepcopy(target)
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise bad_request('each operation of a JSON patch must be an object with "op" and "path"')
        result = _operate(result, operation)
    return result


def _operate(target: Any, operation: dict[str, Any]) -> Any:
    op, path = operation.get("op"), _pointer(operation["path"])
    if op in ("move", "copy"):
        source = _pointer(str(operation.get("from", "")))
        value = deepcopy(_read(target, source))
        if op == "move":
            target = _write(target, source, "remove", None)
        return _write(target, path, "add", value)
    if op == "test":
        if _read(target, path) != operation.get("value"):
            raise _unfit(f"testing value {operation['path']} failed")
        return target
    if op not in ("add", "replace", "remove"):
        raise _unfit(f"unexpected kind of JSON patch operation: {op}")
    return _write(target, path, op, operation.get("value"))


def _pointer(path: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _unfit(why: str) -> ApiError:
    return ApiError(422, "Invalid", f"the server rejected our request due to an error in our request: {why}")


def _read(target: Any, path: list[str]) -> Any:
    for part in path:
        try:
            target = target[int(part)] if isinstance(target, list) else target[part]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise _unfit(f"doc is missing path: /{'/'.join(path)}") from error
    return target


def _write(target: Any, path: list[str], op: str, value: Any) -> Any:
    if not path:
        return value
    parent, last = _read(target, path[:-1]), path[-1]
    if isinstance(parent, list):
        index = len(parent) if last == "-" and op == "add" else int(last) if last.isdigit() else len(parent) + 1
        if index > len(parent) or (op != "add" and index == len(parent)):
            raise _unfit(f"index out of bounds: /{'/'.join(path)}")
        if op == "add":
            parent.insert(index, value)
        elif op == "replace":
            parent[index] = value
        else:
            del parent[index]
    elif isinstance(parent, dict):
        if op == "remove" and last not in parent:  # the real server's replace adds what is missing
            raise _unfit(f"{op} operation does not apply: doc is missing key: /{'/'.join(path)}")
        if op == "remove":
            del parent[last]
        else:
            parent[last] = value
    else:
        raise _unfit(f"doc is missing path: /{'/'.join(path)}")
    return target


def strategic_patch(type_: Type, target: Any, patch: Any) -> Any:
    """A merge patch that knows lists: items with a merge key are merged, and the `$patch` directives are honoured."""
    if isinstance(type_, ListOf) and isinstance(patch, list):
        return _strategic_list(type_, target if isinstance(target, list) else [], patch)
    if not isinstance(patch, dict):
        return patch
    directive = patch.get("$patch")
    if directive == "replace":
        return {name: value for name, value in patch.items() if name != "$patch"}
    if directive == "delete":
        return {}
    result = dict(target) if isinstance(target, dict) else {}
    retained = patch.get("$retainKeys")
    if retained is not None:
        result = {name: value for name, value in result.items() if name in retained}
    for name, value in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            field = name.partition("/")[2]
            result[field] = [item for item in result.get(field) or [] if item not in value]
        elif name.startswith("$"):
            continue
        elif value is None:
            result.pop(name, None)
        else:
            result[name] = strategic_patch(_child(type_, name), result.get(name), value)
    for name, order in patch.items():
        if name.startswith("$setElementOrder/"):
            field = name.partition("/")[2]
            if field in result:
                result[field] = _ordered(_child(type_, field), result[field], order)
    return result


def _child(type_: Type, name: str) -> Type:
    if isinstance(type_, Struct):
        return type_.fields.get(name, ANY)
    return type_.element if isinstance(type_, MapOf) else ANY


def _strategic_list(type_: ListOf, target: list[Any], patch: list[Any]) -> list[Any]:
    if type_.relation == "set":
        return target + [item for item in patch if item not in target]
    key = type_.patch_key
    if not key or any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if not (isinstance(item, dict) and "$patch" in item)]
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


def _ordered(type_: Type, items: list[Any], order: list[Any]) -> list[Any]:
    """Items named in `order` in that order; the others stay behind the item that they followed."""
    key = type_.patch_key if isinstance(type_, ListOf) else ""
    wanted = [entry.get(key) if isinstance(entry, dict) else entry for entry in order]

    def name_of(item: Any) -> Any:
        return item.get(key) if isinstance(item, dict) else item

    rank: dict[int, tuple[int, int]] = {}
    last = -1
    for index, item in enumerate(items):
        if name_of(item) in wanted:
            last = wanted.index(name_of(item))
            rank[index] = (last, -1)
        else:
            rank[index] = (last, index)
    return [items[index] for index in sorted(rank, key=lambda index: rank[index])]
