"""CloudEvents over HTTP, as the Kafka broker's ingress reads and its dispatcher writes them: pure, bytes in, bytes out.

A `Record` is what the broker keeps: attributes as text, data as bytes. It is not the strict codec of the functions;
the broker lets more pass than they do (empty ids, broken JSON in binary mode), and that has to show on a laptop.

Rules of structured mode, where they are not plain JSON:
- the last of duplicate keys wins; a byte order mark before and text after the object are ignored;
- integers of 32 bits and booleans become text, objects, arrays and null in extensions become JSON text; floats and
  larger integers are refused;
- an optional attribute that is null is not set (JSON format, section 2.2);
- JSON data is written again (`1e3` becomes `1000.0`), other data must be a text.

Stricter than the broker in one point where nothing can depend on it: an attribute with a control character is refused.
The broker accepts it and never delivers the event to anyone.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NoReturn

STRUCTURED = "application/cloudevents+json"
_REQUIRED = ("id", "source", "type", "specversion")
_OPTIONAL = ("subject", "time", "datacontenttype", "dataschema")
_SPEC_VERSIONS = ("1.0", "0.3")
_NAME = re.compile(r"[a-z0-9]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # what HTTP and JSON parsers make of bytes that are no text
_JSON_TYPE = re.compile(r"^[^/]+/(json|[^/;]+\+json)\s*(;|$)|^text/json\s*(;|$)", re.IGNORECASE)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_TRACE = ("traceparent", "tracestate")
_INT32 = 2**31


class MalformedRequest(ValueError):
    """Not a CloudEvent; the ingress answers 400 with this reason."""


class UnusableKey(ValueError):
    """A partitionkey that is not a text; the ingress answers 503."""


@dataclass(frozen=True)
class Record:
    """One event as the broker keeps it.

    `attributes` are the context attributes and extensions, with lower-case names, `specversion` included; `trace` are
    the W3C headers that came with it. `data` is None when the event has none.
    """

    attributes: Mapping[str, str]
    data: bytes | None = None
    trace: Mapping[str, str] = field(default_factory=dict)

    def extended(self, extensions: Mapping[str, str]) -> Record:
        return replace(self, attributes={**self.attributes, **extensions})

    @property
    def size(self) -> int:
        """Bytes of key, headers and data: what a Kafka record limit counts."""
        headers = sum(len(name) + len(value.encode()) for name, value in self.attributes.items())
        return headers + len(self.attributes.get("partitionkey", "").encode()) + len(self.data or b"")


def is_event(headers: Mapping[str, str]) -> bool:
    """Whether a message with these headers claims to be a CloudEvent. `headers` is case-insensitive or lower-cased."""
    return headers.get("content-type", "").startswith("application/cloudevents") or "ce-specversion" in headers


def decode(headers: Iterable[tuple[str, str]], body: bytes) -> Record:
    """The event of an HTTP message in binary or structured mode. Raises MalformedRequest or UnusableKey."""
    named = {name.lower(): value for name, value in headers}
    content_type = named.get("content-type", "")
    trace = {name: named[name] for name in _TRACE if name in named}
    if content_type.startswith("application/cloudevents"):
        if not re.match(r"application/cloudevents\+json\s*(;|$)", content_type):
            raise MalformedRequest(f"content type {content_type}: only single events in JSON are taken")
        return replace(_structured(body), trace=trace)
    attributes = {name[3:]: value for name, value in named.items() if name.startswith("ce-")}
    if not attributes:
        raise MalformedRequest(f"neither ce- headers nor the content type {STRUCTURED}: not a CloudEvent")
    attributes.pop("datacontenttype", None)
    if content_type:
        attributes["datacontenttype"] = content_type
    return Record(_checked(attributes), body or None, trace)


def encode(record: Record) -> dict[str, str]:
    """The headers of the event in binary mode; the body is its data."""
    headers = {f"ce-{name}": value for name, value in record.attributes.items() if name != "datacontenttype"}
    if content_type := record.attributes.get("datacontenttype"):
        headers["content-type"] = content_type
    headers.update(record.trace)
    return headers


def _checked(attributes: dict[str, str]) -> dict[str, str]:
    for name in _REQUIRED:
        if name not in attributes:
            raise MalformedRequest(f"{name} is missing")
    if attributes["specversion"] not in _SPEC_VERSIONS:
        raise MalformedRequest(f"specversion {attributes['specversion']!r} is not 1.0")
    for name, value in attributes.items():
        if not _NAME.fullmatch(name):
            raise MalformedRequest(f"attribute name {name!r}: only lower-case letters and digits")
        if _CONTROL.search(value):
            raise MalformedRequest(f"{name} holds a control character")
        if _SURROGATE.search(value):
            raise MalformedRequest(f"{name} is not UTF-8")
    for name in ("source", "dataschema"):
        if " " in attributes.get(name, ""):
            raise MalformedRequest(f"{name} {attributes[name]!r} is not a URI reference")
    if (time := attributes.get("time")) is not None:
        attributes["time"] = _canonical_time(time)
    return attributes


def _canonical_time(text: str) -> str:
    """RFC 3339, without trailing zeros in the fraction, as the broker rewrites it."""
    if not _TIME.fullmatch(text):
        raise MalformedRequest(f"time {text!r} is not an RFC 3339 timestamp")
    try:
        datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise MalformedRequest(f"time {text!r}: {error}") from error
    return re.sub(r"(\.\d*?)0+(?=[Zz+-])", lambda found: found[1].rstrip("."), text).upper()


def _structured(body: bytes) -> Record:
    parsed = _parse(body)
    if not isinstance(parsed, dict):
        raise MalformedRequest("the event is not a JSON object")
    if "data" in parsed and "data_base64" in parsed:
        raise MalformedRequest("data and data_base64 exclude each other")
    payload = {name: parsed.pop(name) for name in ("data", "data_base64") if name in parsed}
    present = {name: value for name, value in parsed.items() if value is not None or name not in _OPTIONAL}
    attributes = _checked({name: _attribute(name, value) for name, value in present.items()})
    if "data_base64" in payload:
        return Record(attributes, _unbase64(payload["data_base64"]))
    if "data" not in payload:
        return Record(attributes)
    if attributes["specversion"] == "0.3" and attributes.pop("datacontentencoding", "").lower() == "base64":
        return Record(attributes, _unbase64(payload["data"]))
    return Record(attributes, _data(payload["data"], attributes.get("datacontenttype", "application/json")))


def _parse(body: bytes) -> Any:
    try:
        text = body.decode("utf-8-sig").lstrip()
        return _DECODER.raw_decode(text)[0]
    except UnicodeDecodeError as error:
        raise MalformedRequest("the event is not UTF-8") from error
    except RecursionError as error:
        raise MalformedRequest("the event is nested too deeply") from error
    except ValueError as error:
        raise MalformedRequest(f"the event is not JSON: {error}") from error


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON value")


_DECODER = json.JSONDecoder(parse_constant=_not_json)


def _attribute(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if name == "partitionkey":
        raise UnusableKey("partitionkey must be a text")
    if name in (*_REQUIRED, *_OPTIONAL):
        raise MalformedRequest(f"{name} must be a text")
    if isinstance(value, float) or (isinstance(value, int) and not -_INT32 <= value < _INT32):
        raise MalformedRequest(f"{name}: a number must be an integer of 32 bits")
    return _compact(value)


def _compact(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise MalformedRequest("the event holds a number that is out of range") from error


def _unbase64(value: Any) -> bytes:
    if not isinstance(value, str):
        raise MalformedRequest("data_base64 must be a text")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedRequest(f"data_base64 is not base64: {error}") from error


def _data(value: Any, content_type: str) -> bytes:
    if _JSON_TYPE.match(content_type):
        return _compact(value).encode("utf-8", "surrogatepass")
    if not isinstance(value, str):
        raise MalformedRequest(f"data must be a text, because {content_type} is not JSON")
    return value.encode("utf-8", "surrogatepass")
