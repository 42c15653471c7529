"""Whether a value fits the type that the schema declares.

Every request passes this check before anything else happens to its body. Server-side apply answers a misfit with a 500
that says `failed to create typed patch object`, as the real server does; a create or a patch answers 400 or 422.
"""

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from knative.local.kubernetes import quantity
from knative.local.kubernetes.errors import ApiError
from knative.local.kubernetes.merge import item_key
from knative.local.kubernetes.schema import KEY_DEFAULTS, ListOf, MapOf, Scalar, Struct, Type

_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$", re.ASCII)
_NUMERIC = "numeric (int or float)"
_EXPECTED: dict[str, tuple[str, tuple[type, ...]]] = {
    "string": ("string", (str,)),
    "time": ("string", (str,)),
    "integer": (_NUMERIC, (int, float)),
    "number": (_NUMERIC, (int, float)),
    "boolean": ("boolean", (bool,)),
    "quantity": ("scalar", (str, int, float)),
    "int-or-string": ("scalar", (str, int)),
}
_INT64 = ("Seconds", "eneration", "Group", "User")  # how the names of 64-bit integers end; all others have 32 bits


@dataclass
class Misfits:
    """What does not fit, in the order of the document.

    `wrong` and `duplicates` are sentences that begin with a path, and `unknown` are paths of undeclared fields.
    """

    wrong: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)


def misfits(root: Struct, value: Any) -> Misfits:
    found = Misfits()
    _check(root, value, "", found)
    return found


def require_fit(root: Struct, config: Any, what: str) -> None:
    """Raises 500 naming every misfit of an applied configuration; `what` names the object."""
    found = misfits(root, config)
    unknown = [f"{path}: field not declared in schema" for path in found.unknown]
    problems = sorted([*found.wrong, *unknown, *found.duplicates])
    if problems:
        text = problems[0] if len(problems) == 1 else "errors:\n" + "\n".join(f"  {problem}" for problem in problems)
        raise ApiError(500, "", f"failed to create typed patch object {what}: {text}")


def _check(type_: Type, value: Any, path: str, found: Misfits) -> None:
    if value is None:
        return
    if isinstance(type_, Scalar):
        if problem := _scalar(type_.name, value, path):
            found.wrong.append(f"{path}: {problem}")
    elif isinstance(type_, ListOf):
        _list(type_, value, path, found)
    elif not isinstance(value, dict):
        found.wrong.append(f"{path}: expected map, got {_shown(value)}")
    else:
        for name, item in value.items():
            child = type_.element if isinstance(type_, MapOf) else type_.fields.get(name)
            if child is None:
                found.unknown.append(f"{path}.{name}")
            else:
                _check(child, item, f"{path}.{name}", found)


def _scalar(name: str, value: Any, path: str) -> str:
    """What is wrong with a scalar, or ""."""
    if name == "any":
        return ""
    words, types = _EXPECTED[name]
    fits = isinstance(value, types) and (not isinstance(value, bool) or bool in types)
    if not fits:
        return f"expected {words}, got {'string' if words == _NUMERIC and isinstance(value, str) else _shown(value)}"
    if name == "integer":
        limit = 1 << (63 if path.endswith(_INT64) else 31)
        whole = isinstance(value, int) or value.is_integer()
        return "" if whole and -limit <= value < limit else f"{value} is no integer of this size"
    try:
        if name == "quantity":
            quantity.canonical(str(value))
        elif name == "time" and (_TIME.match(value) is None or not datetime.fromisoformat(value)):
            return f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value}" as "2006"'
    except ValueError as error:
        return str(error)
    return ""


def _list(type_: ListOf, value: Any, path: str, found: Misfits) -> None:
    if not isinstance(value, list):
        found.wrong.append(f"{path}: expected list, got {_shown(value)}")
        return
    seen: set[str] = set()
    for index, item in enumerate(value):
        at = f"[{index}]"
        if type_.relation == "map":
            source = item if isinstance(item, dict) else {}
            named = {key: source.get(key, KEY_DEFAULTS.get(key)) for key in sorted(type_.keys)}
            at = f"[{','.join(f'{key}={json.dumps(value)}' for key, value in named.items())}]"
        if item is None:
            found.wrong.append(f"{path}{at}: expected an item, got null")
            continue
        before = len(found.wrong)
        _check(type_.element, item, path + at, found)
        if type_.relation == "atomic" or len(found.wrong) > before:
            continue  # an item of the wrong type has no key to compare
        key = item_key(type_, item)
        if key in seen:
            found.duplicates.append(f"{path}: duplicate entries for key {at}")
        seen.add(key)


def _shown(value: Any) -> str:
    return f"&{{{value if isinstance(value, str) else json.dumps(value)}}}"
