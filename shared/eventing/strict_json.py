"""JSON as RFC 8259 means it, refusing what Python's reader lets through.

Python takes NaN and Infinity, reads 1e400 as infinity, lets the last of two equal keys win, and fails with
RecursionError or ValueError on deep nesting and huge integers. A string may hold half a surrogate pair, which
is not Unicode (RFC 7493, section 2.1), or U+0000, which PostgreSQL cannot store. All of these are a caller's
mistake here, and one error.

Python's reader says what is wrong, and is slow, because it calls us for each object and number. So pydantic's reader
goes first, and Python's gets the texts that pydantic's refuses, or leaves in doubt. Pydantic's lets the last of two
equal keys win too, and reads 1e400 as infinity. Infinity shows in the value. A dropped pair shows in the number of
colons: a text has one for each key and those in its strings, so it has more than its value needs.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import JsonValue

MAX_DEPTH = 64
_ESCAPED = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


class InvalidJson(ValueError):
    """The text is not JSON, or not JSON that two readers would read alike."""


def parse(body: bytes) -> JsonValue:
    """The value in UTF-8 `body`. Raises InvalidJson with the reason."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidJson(f"not UTF-8 at byte {error.start}") from None
    try:
        return _read_if_plain(text)
    except (ValueError, OverflowError):
        return _read(text)


def _read_if_plain(text: str) -> JsonValue:
    """The value. Raises ValueError for what is wrong with a text, or might be."""
    from pydantic_core import from_json  # the agent of GPU nodes parses nothing, and has no memory for pydantic

    if "\\" in text and "\\u00" in text:  # an escape may stand for U+0000, or for a colon
        raise ValueError(text)
    value = from_json(text, allow_inf_nan=False, cache_strings="keys")
    if _colons((value,), MAX_DEPTH) != text.count(":"):
        raise ValueError(text)
    return cast("JsonValue", value)


def _colons(values: Iterable[Any], levels: int) -> int:
    """How many colons a text with these values has at least.

    Raises ValueError or OverflowError for infinity, what might be infinity, and too many levels.
    """
    if levels < 0:
        raise ValueError(levels)
    try:  # what is long is mostly numbers alone; a loop over them takes ten times as long
        total = sum(values)
    except TypeError:
        return _colons_one_by_one(values, levels)
    if not math.isfinite(total):
        raise ValueError(total)
    return 0


def _colons_one_by_one(values: Iterable[Any], levels: int) -> int:
    found = 0
    for value in values:
        kind = type(value)  # of JSON, so no value is of a subclass; asking for that takes twice as long
        if kind is str:
            found += value.count(":")
        elif kind is dict:
            found += len(value) + "".join(value).count(":") + _colons(value.values(), levels - 1)
        elif kind is list:
            found += _colons(value, levels - 1)
        elif kind is float and math.isinf(value):
            raise ValueError(value)
    return found


def _read(text: str) -> JsonValue:
    """The value. Raises InvalidJson with the reason."""
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise InvalidJson(f"{error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise InvalidJson(f"nested deeper than {MAX_DEPTH} levels") from None
    except InvalidJson:
        raise
    except ValueError:
        raise InvalidJson("a number has too many digits") from None
    # Fewer brackets than levels cannot nest too deeply, and counting them costs nothing.
    if text.count("{") + text.count("[") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH):
        raise InvalidJson(f"nested deeper than {MAX_DEPTH} levels")
    # Only an escape can bring such a character in, so the strings are looked at only where there is one.
    if _ESCAPED.search(text) and _holds_unstorable(value):
        raise InvalidJson("a string holds U+0000 or half a surrogate pair")
    return cast("JsonValue", value)


def canonical(value: JsonValue) -> bytes:
    """One text for every spelling of a value: sorted keys, no spaces, 1000.0 as 1000."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def compact(value: JsonValue) -> bytes:
    """The value as text without spaces, the keys in the order that they came in."""
    return json.dumps(value, separators=(",", ":")).encode()


def _unique(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found = dict(pairs)
    if len(found) != len(pairs):
        repeated = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise InvalidJson(f"the key {repeated[:60]!r} appears twice in one object")
    return found


def _no_constant(name: str) -> JsonValue:
    raise InvalidJson(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise InvalidJson(f"the number {text[:40]} is too large")
    return value


def _holds_unstorable(value: JsonValue) -> bool:
    match value:
        case str():
            return _UNSTORABLE.search(value) is not None
        case dict():
            return any(_holds_unstorable(key) or _holds_unstorable(inner) for key, inner in value.items())
        case list():
            return any(_holds_unstorable(inner) for inner in value)
        case _:
            return False


def _deeper_than(value: JsonValue, levels: int) -> bool:
    match value:
        case dict():
            inner = list(value.values())
        case list():
            inner = value
        case _:
            return False
    return levels == 0 or any(_deeper_than(one, levels - 1) for one in inner if isinstance(one, dict | list))


def _plain(value: JsonValue) -> JsonValue:
    match value:
        case dict():
            return {k: _plain(v) for k, v in value.items()}
        case list():
            return [_plain(v) for v in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value
