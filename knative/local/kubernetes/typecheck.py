"""The type check of an applied configuration.

Server-side apply turns the configuration into a typed value before anything else. What does not fit is answered, by the
real server as here, with a 500 that says `failed to create typed patch object`.
"""

import json
from typing import Any

from knative.local.kubernetes.errors import ApiError
from knative.local.kubernetes.merge import item_key
from knative.local.kubernetes.schema import KEY_DEFAULTS, ListOf, MapOf, Scalar, Struct, Type

_EXPECTED = {
    "string": ("string", (str,)),
    "time": ("string", (str,)),
    "integer": ("numeric (int or float)", (int, float)),
    "number": ("numeric (int or float)", (int, float)),
    "boolean": ("boolean", (bool,)),
}


def check(root: Struct, config: Any, what: str) -> None:
    """Raises 500 naming every field of `config` that is not declared or has the wrong type; `what` names the object."""
    problems: list[str] = []
    _check(root, config, "", problems)
    if problems:
        ordered = sorted(problems)
        text = ordered[0] if len(ordered) == 1 else "errors:\n" + "\n".join(f"  {problem}" for problem in ordered)
        raise ApiError(500, "", f"failed to create typed patch object {what}: {text}")


def _check(type_: Type, value: Any, path: str, problems: list[str]) -> None:
    if value is None:
        return
    if isinstance(type_, Scalar):
        _scalar(type_, value, path, problems)
    elif isinstance(type_, ListOf):
        _list(type_, value, path, problems)
    elif not isinstance(value, dict):
        problems.append(f"{path}: expected map, got {_pointer(value)}")
    elif isinstance(type_, MapOf):
        for name, item in value.items():
            _check(type_.element, item, f"{path}.{name}", problems)
    else:
        for name, item in value.items():
            child = type_.fields.get(name)
            if child is None:
                problems.append(f"{path}.{name}: field not declared in schema")
            else:
                _check(child, item, f"{path}.{name}", problems)


def _scalar(type_: Scalar, value: Any, path: str, problems: list[str]) -> None:
    expected = _EXPECTED.get(type_.name)
    if expected is None:
        if type_.name != "any" and not isinstance(value, str | int | float):
            problems.append(f"{path}: expected scalar, got {_pointer(value)}")
        return
    words, types = expected
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        problems.append(f"{path}: expected {words}, got {_shown(value, words)}")


def _list(type_: ListOf, value: Any, path: str, problems: list[str]) -> None:
    if not isinstance(value, list):
        problems.append(f"{path}: expected list, got {_pointer(value)}")
        return
    seen: set[str] = set()
    for index, item in enumerate(value):
        if type_.relation == "atomic":
            _check(type_.element, item, f"{path}[{index}]", problems)
            continue
        where = path
        if type_.relation == "map":
            source = item if isinstance(item, dict) else {}
            named = {key: source.get(key, KEY_DEFAULTS.get(key)) for key in sorted(type_.keys)}
            where = f"{path}[{','.join(f'{k}={json.dumps(v)}' for k, v in named.items())}]"
        before = len(problems)
        _check(type_.element, item, where, problems)
        if len(problems) > before:
            continue  # an item of the wrong type has no key to compare
        key = item_key(type_, item)
        if key in seen:
            problems.append(f"{path}: duplicate entries for key {where.removeprefix(path)}")
        seen.add(key)


def _shown(value: Any, words: str) -> str:
    """The value as the real server prints it: numbers are told their type only, everything else its content."""
    if isinstance(value, str) and words.startswith("numeric"):
        return "string"
    if words == "string":
        return f"&value.valueUnstructured{{Value:{_go(value)}}}"
    return _pointer(value)


def _pointer(value: Any) -> str:
    return f"&{{{_go(value)}}}"


def _go(value: Any) -> str:
    if isinstance(value, list):
        return "[" + " ".join(_go(item) for item in value) + "]"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_go(value[key])}" for key in sorted(value)) + "]"
    return value if isinstance(value, str) else json.dumps(value)
