"""From the JSON of a request to an object of a kind, as the real server's decoder does it.

Unknown fields are collected and dropped; the request's `fieldValidation` decides whether they are refused. A value of
the wrong type is refused. Nulls and empty maps and lists are dropped. Quantities become canonical.
"""

import json
import sys
from typing import Any

from knative.local.kubernetes import quantity, typecheck
from knative.local.kubernetes.errors import ApiError, bad_request
from knative.local.kubernetes.kinds import Kind
from knative.local.kubernetes.schema import ListOf, MapOf, Scalar, Schema, Type


class UndecodableError(Exception):
    """A field has the wrong type; the message names it."""


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
        raise _unrecognized(kind.name, "the body is not an object")
    found = typecheck.misfits(schema.roots[kind.key], value)
    if found.wrong:
        raise UndecodableError(found.wrong[0])
    unknown += [path.removeprefix(".") for path in found.unknown]
    return clean(schema, kind, value)


def not_of_kind(kind: Kind, why: object) -> ApiError:
    """400 for a body that is no object of the kind."""
    return bad_request(f'{kind.name} in version "{kind.version}" cannot be handled as a {kind.name}: {why}')


def clean(schema: Schema, kind: Kind, value: dict[str, Any]) -> dict[str, Any]:
    """A fresh copy of a value that fits its type, with the declared fields only."""
    cleaned: dict[str, Any] = _clean(schema.roots[kind.key], value)
    return cleaned


def _clean(type_: Type, value: Any) -> Any:
    if isinstance(type_, Scalar):
        if type_.name == "quantity":
            return quantity.canonical(str(value))
        return int(value) if type_.name == "integer" else value
    if isinstance(type_, ListOf):
        return [_clean(type_.element, item) for item in value]
    if isinstance(type_, MapOf):
        return {name: _clean(type_.element, item) for name, item in value.items() if item is not None}
    result = {}
    for name, item in value.items():
        child = type_.fields.get(name)
        if child is not None and item is not None:
            cleaned = _clean(child, item)
            if cleaned or not isinstance(child, ListOf | MapOf):
                result[sys.intern(name)] = cleaned  # objects share the names of their fields
    if type_.name.endswith("Condition"):
        for name in ("type", "status"):  # written by the real server even when they were left out
            result.setdefault(name, "")
    return result
