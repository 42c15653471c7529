"""The history of a policy: its versions, and what each of them made different."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import JsonValue

_NOTHING = "nothing"
_EMPTY: tuple[JsonValue, ...] = (None, [], {})


class PolicyChange(StrEnum):
    """What a version did to its policy."""

    ADDED = "added"
    REPLACED = "replaced"
    ENABLED = "enabled"
    DISABLED = "disabled"


@dataclass(frozen=True)
class PolicyVersion:
    """One entry of a policy's history."""

    version: int
    change: PolicyChange
    author: str
    changed_at: datetime
    document: dict[str, Any]


def differences(before: JsonValue, after: JsonValue, path: str = "") -> Iterator[str]:
    """What became different between two documents, field by field: "rules.0.gpus: 16 -> 8"."""
    match before, after:
        case dict(), dict():
            for key in dict.fromkeys([*before, *after]):
                yield from differences(before.get(key), after.get(key), f"{path}.{key}" if path else key)
        case list(), list() if any(isinstance(one, dict) for one in (*before, *after)):
            for index in range(max(len(before), len(after))):
                old, new = (values[index] if index < len(values) else None for values in (before, after))
                yield from differences(old, new, f"{path}.{index}")
        case _ if before != after:
            yield f"{path}: {_words(before)} -> {_words(after)}"


def _words(value: Any) -> str:
    """A value in a few words; of an object what it is and says, without what it leaves open."""
    match value:
        case _ if value in _EMPTY:
            return _NOTHING
        case bool():
            return str(value).lower()
        case dict():
            return ", ".join(f"{key} {_words(inner)}" for key, inner in value.items() if inner not in _EMPTY)
        case list():
            return ", ".join(map(_words, value))
        case _:
            return str(value)
