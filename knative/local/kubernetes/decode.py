"""From the JSON of a request to an object of a kind, as the real server's decoder does it.

Unknown and duplicate fields are collected (the request's `fieldValidation` decides what becomes of them) and dropped;
a value of the wrong type is refused; nulls and empty maps and lists vanish; quantities become canonical.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from knative.local.kubernetes import quantity
from knative.local.kubernetes.errors import ApiError, bad_request
from knative.local.kubernetes.kinds import Kind
from knative.local.kubernetes.schema import ListOf, MapOf, Scalar, Schema, Struct, Type

_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$", re.ASCII)
_INT64 = frozenset(
    {
        "activeDeadlineSeconds",
        "deletionGracePeriodSeconds",
        "expirationSeconds",
        "fsGroup",
        "generation",
        "observedGeneration",
        "runAsGroup",
        "runAsUser",
        "supplementalGroups",
        "terminationGracePeriodSeconds",
        "tolerationSeconds",
    }
)
_GO_TYPES = {"string": "string", "integer": "int32", "number": "float64", "boolean": "bool", "time": "string"}


@dataclass
class Strictness:
    """What a strict decoder objects to: complete sentences, in the order of the document."""

    complaints: list[str] = field(default_factory=list)


class UndecodableError(Exception):
    """A field has the wrong type; the message names it as the real server's decoder does."""


class _Repeating(dict[str, Any]):
    """An object of the body that names a key twice; the last value counts."""

    repeated: tuple[str, ...] = ()


def parse_json(body: bytes, strictness: Strictness, expected: str = "JSON") -> Any:
    """Parses JSON; duplicate keys are complaints (the last one wins), anything that is no JSON is a 400."""
    repeating: list[_Repeating] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) == len(items):
            return result
        names = [name for name, _ in items]
        marked = _Repeating(result)
        marked.repeated = tuple(dict.fromkeys(name for index, name in enumerate(names) if name in names[:index]))
        repeating.append(marked)
        return marked

    def constant(text: str) -> Any:
        raise ValueError(f"invalid character '{text[0]}' looking for beginning of value")

    try:
        value = json.loads(body, object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise _unrecognized(expected, str(error)) from error
    if repeating:
        strictness.complaints += [f'duplicate field "{path}"' for path in _repeated(value, "")]
    return value


def _unrecognized(expected: str, why: str) -> ApiError:
    return bad_request(
        f"the object provided is unrecognized (must be of type {expected}): "
        f"couldn't get version/kind; json parse error: {why}"
    )


def _repeated(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _repeated(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        if isinstance(value, _Repeating):
            yield from (f"{path}.{name}".lstrip(".") for name in value.repeated)
        for name, item in value.items():
            yield from _repeated(item, f"{path}.{name}")


def decode(schema: Schema, kind: Kind, value: Any, strictness: Strictness) -> dict[str, Any]:
    """A clean object of `kind`. Raises UndecodableError on a value of the wrong type, 400 when it is no object at
    all.
    """
    if not isinstance(value, dict):
        raise _unrecognized(kind.name, f"json: cannot unmarshal {_json_type(value)} into Go value of type struct")
    decoded: dict[str, Any] = _clean(schema.roots[kind.key], value, "", kind.name, strictness)
    return decoded


def unhandled(kind: Kind, why: object) -> ApiError:
    """400 for a body that is no object of the kind."""
    return bad_request(f'{kind.name} in version "{kind.version}" cannot be handled as a {kind.name}: {why}')


def objection(strictness: Strictness, level: str) -> str:
    """What a strict decoder says, when the request asked for one and there is something to say."""
    if level == "Strict" and strictness.complaints:
        return "strict decoding error: " + ", ".join(strictness.complaints)
    return ""


def warnings(strictness: Strictness, level: str) -> list[str]:
    return [] if level == "Ignore" else strictness.complaints


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]


def _bare(model: str) -> str:
    """`Container` for `V1Container`."""
    return re.sub(r"^(Core)?V\d+((alpha|beta)\d+)?", "", model)


def _wrong(value: Any, struct: str, path: str, go_type: str) -> UndecodableError:
    number = f" {value}" if isinstance(value, float) or (type(value) is int and go_type == "int32") else ""
    name = _bare(struct)
    path = re.sub(r"\[\d+\]", "", path)
    return UndecodableError(
        f"json: cannot unmarshal {_json_type(value)}{number} into Go struct field "
        f"{name}.{path.lstrip('.')} of type {go_type}"
    )


def _clean(type_: Type, value: Any, path: str, struct: str, strictness: Strictness) -> Any:
    if isinstance(type_, Scalar):
        return _scalar(type_, value, path, struct)
    if isinstance(type_, ListOf):
        if not isinstance(value, list):
            raise _wrong(value, struct, path, "[]" + _element_name(type_.element))
        return [_clean(type_.element, item, f"{path}[{i}]", struct, strictness) for i, item in enumerate(value)]
    if not isinstance(value, dict):
        raise _wrong(value, struct, path, _element_name(type_) if isinstance(type_, Struct) else "map[string]string")
    result = {}
    if isinstance(type_, MapOf):
        for name, item in value.items():
            if item is not None:
                result[name] = _clean(type_.element, item, path, struct, strictness)
        return result
    fields = type_.fields
    for name, item in value.items():
        child = fields.get(name)
        if child is None:
            strictness.complaints.append(f'unknown field "{(path + "." + name).lstrip(".")}"')
        elif item is not None:
            cleaned = _clean(child, item, f"{path}.{name}", type_.name, strictness)
            if cleaned or not isinstance(child, ListOf | MapOf):
                result[sys.intern(name)] = cleaned  # objects share the names of their fields
    if type_.name.endswith("Condition"):
        for name in ("type", "status"):  # written by the real server even when they were left out
            result.setdefault(name, "")
    return result


def _element_name(type_: Type) -> str:
    if isinstance(type_, Struct):
        return "v1." + _bare(type_.name)
    return type_.name if isinstance(type_, Scalar) else "interface {}"


def _scalar(type_: Scalar, value: Any, path: str, struct: str) -> Any:
    name = type_.name
    limit = 1 << (63 if path.rpartition(".")[2] in _INT64 else 31)
    if name == "any":
        return value
    if name == "string":
        if type(value) is str:
            return value
    elif name == "integer":
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is int and -limit <= value < limit:
            return value
    elif name == "boolean":
        if type(value) is bool:
            return value
    elif name == "number":
        if type(value) in (int, float):
            return value
    elif name == "int-or-string":
        if type(value) in (int, str):
            return value
    elif name == "quantity":
        return _quantity(value)
    elif name == "time":
        return _time(value, path, struct)
    raise _wrong(value, struct, path, _GO_TYPES.get(name, name))


def _quantity(value: Any) -> str:
    if type(value) not in (int, float, str):
        raise UndecodableError(f"unable to parse quantity's suffix: {json.dumps(value)}")
    try:
        return quantity.canonical(str(value))
    except ValueError as error:
        raise UndecodableError(str(error)) from error


def _time(value: Any, path: str, struct: str) -> str:
    if not isinstance(value, str):
        raise _wrong(value, struct, path, "string")
    try:
        if _TIME.match(value) is None:
            raise ValueError(value)
        datetime.fromisoformat(value)
    except ValueError as error:
        raise UndecodableError(
            f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value}" as "2006"'
        ) from error
    return value
