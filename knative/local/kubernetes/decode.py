"""From the JSON of a request to an object of a kind, as the real server's decoder does it.

Unknown fields are collected and dropped; the request's `fieldValidation` decides whether they are refused. A value of
the wrong type is refused. Nulls and empty maps and lists vanish. Quantities become canonical.
"""

import json
import re
import sys
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
        "fsGroup",
        "generation",
        "observedGeneration",
        "runAsGroup",
        "runAsUser",
        "terminationGracePeriodSeconds",
        "tolerationSeconds",
    }
)
_GO_TYPES = {"string": "string", "integer": "int32", "number": "float64", "boolean": "bool", "time": "string"}


class UndecodableError(Exception):
    """A field has the wrong type; the message names it as the real server's decoder does."""


def parse_json(body: bytes, expected: str = "JSON") -> Any:
    """Parses JSON. Anything that is no JSON is a 400."""

    def constant(text: str) -> Any:
        raise ValueError(f"invalid character '{text[0]}' looking for beginning of value")

    try:
        return json.loads(body, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise _unrecognized(expected, str(error)) from error


def _unrecognized(expected: str, why: str) -> ApiError:
    return bad_request(
        f"the object provided is unrecognized (must be of type {expected}): "
        f"couldn't get version/kind; json parse error: {why}"
    )


def decode(schema: Schema, kind: Kind, value: Any, unknown: list[str]) -> dict[str, Any]:
    """A clean object of `kind`; the paths of unknown fields are added to `unknown`.

    Raises UndecodableError on a value of the wrong type, and 400 when the value is no object at all.
    """
    if not isinstance(value, dict):
        raise _unrecognized(kind.name, f"json: cannot unmarshal {_json_type(value)} into Go value of type struct")
    decoded: dict[str, Any] = _clean(schema.roots[kind.key], value, "", kind.name, unknown)
    return decoded


def not_of_kind(kind: Kind, why: object) -> ApiError:
    """400 for a body that is no object of the kind."""
    return bad_request(f'{kind.name} in version "{kind.version}" cannot be handled as a {kind.name}: {why}')


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


def _clean(type_: Type, value: Any, path: str, struct: str, unknown: list[str]) -> Any:
    if isinstance(type_, Scalar):
        return _scalar(type_, value, path, struct)
    if isinstance(type_, ListOf):
        if not isinstance(value, list):
            raise _wrong(value, struct, path, "[]" + _element_name(type_.element))
        return [_clean(type_.element, item, f"{path}[{i}]", struct, unknown) for i, item in enumerate(value)]
    if not isinstance(value, dict):
        raise _wrong(value, struct, path, _element_name(type_) if isinstance(type_, Struct) else "map[string]string")
    result = {}
    if isinstance(type_, MapOf):
        for name, item in value.items():
            if item is not None:
                result[name] = _clean(type_.element, item, path, struct, unknown)
        return result
    fields = type_.fields
    for name, item in value.items():
        child = fields.get(name)
        if child is None:
            unknown.append(f"{path}.{name}".lstrip("."))
        elif item is not None:
            cleaned = _clean(child, item, f"{path}.{name}", type_.name, unknown)
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
