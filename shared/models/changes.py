"""What an audit row says of a change: a hash of the object before and after it, and the fields that it changed.

Values that may be secrets are left out: of environment variables, commands and arguments the row names the field alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import JsonValue

HIDDEN = frozenset({"env", "command", "args", "password", "token"})
"""Fields whose values are never written down."""
MAX_FIELDS = 100
MAX_VALUE = 500


def changes(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> dict[str, JsonValue]:
    """{before, after: SHA-256 of the object as JSON, null where there is none; changed: fields with both values}.

    Of an object that is new or gone no field is listed: all of them are. At most MAX_FIELDS fields are listed, and at
    most MAX_VALUE characters of a value.
    """
    listed: list[JsonValue] = []
    for path, old, new in _differences("", before, after) if before is not None and after is not None else ():
        if len(listed) == MAX_FIELDS:
            break
        entry: dict[str, JsonValue] = {"field": path}
        if not HIDDEN.intersection(path.split(".")):
            entry |= {"before": _shortened(old), "after": _shortened(new)}
        listed.append(entry)
    return {"before": _hash(before), "after": _hash(after), "changed": listed}


def _differences(path: str, before: Any, after: Any) -> Iterator[tuple[str, JsonValue, JsonValue]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted(before.keys() | after.keys()):
            inner = f"{path}.{name}" if path else name
            yield from _differences(inner, before.get(name), after.get(name))
    elif before != after:
        yield path, before, after


def _hash(value: Mapping[str, Any] | None) -> str | None:
    if value is None:
        return None
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _shortened(value: JsonValue) -> JsonValue:
    """The value; of one that is long, the beginning of its JSON. A secret in an object inside a list is hidden too."""
    value = _without_secrets(value)
    text = value if isinstance(value, str) else json.dumps(value)
    return value if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}…"


def _without_secrets(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {name: "…" if name in HIDDEN else _without_secrets(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_secrets(inner) for inner in value]
    return value
