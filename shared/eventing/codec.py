"""The wire form of CloudEvents over HTTP, strictly.

This module reads and writes the binary and the structured mode itself. It refuses what CloudEvents 1.0.2 does not allow
(core specification, HTTP binding, JSON format) and what cannot travel on: empty or non-text required attributes,
upper-case or empty attribute names, a `time` that is not RFC 3339, `data` together with `data_base64`, duplicate keys,
batches. The `cloudevents` SDK lets all of these pass, does not percent-encode headers and makes up a `time`.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime
from typing import TYPE_CHECKING

from shared.errors import EventTooLarge, MalformedEvent
from shared.eventing import headers as header_values
from shared.eventing import strict_json
from shared.eventing.event import MAX_EVENT_BYTES, Envelope, WireEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

CONTENT_TYPE_STRUCTURED = "application/cloudevents+json"
_RESERVED = "data"  # a member of the JSON format, so no attribute may be called so
_KEYS = ("id", "source", "type", "subject", "partitionkey")
_MAX_KEY = 1024  # bytes; the inbox finds events by source and id, and an index entry has at most 2,704 bytes
_URIS = ("source", "dataschema")
# Core specification, sections 3.1 and 3.2 (subject, dataschema, datacontenttype), and the documented extensions
# partitioning, dataref and sequence: "MUST be a non-empty string". Other extensions may be empty.
_NOT_EMPTY = ("subject", "dataschema", "datacontenttype", "partitionkey", "dataref", "sequence")
_REQUIRED = ("id", "source", "type", "specversion")
_NAME = re.compile(r"[a-z0-9]{1,64}")
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
# Core specification, section 2.4 (type system): no control character, surrogate or noncharacter is in a String.
_NONCHARACTERS = "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
_NOT_TEXT = re.compile(f"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_NONCHARACTERS}]")
_NOT_IN_URI = re.compile(r"""[^\x21-\x7e]|["<>\\^`{|}]""")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_JSON_MEDIA_TYPE = re.compile(r"[\w.-]+/(json|[\w.-]+\+json)", re.IGNORECASE)


def decode(headers: Mapping[str, str], body: bytes) -> Envelope:
    """The event in an HTTP request, in binary or structured mode. Header names are lower-case.

    Raises MalformedEvent with the reason.
    """
    attributes = binary_attributes(headers)
    return _structured(body) if attributes is None else envelope(attributes, body)


def binary_attributes(headers: Mapping[str, str]) -> dict[str, str] | None:
    """The attributes of an event in binary mode, not checked; None for one in structured mode.

    Raises MalformedEvent for a request in neither.
    """
    content_type = headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type.startswith("application/cloudevents-batch"):
        raise MalformedEvent("batches are not taken: send one event a request")
    if media_type == CONTENT_TYPE_STRUCTURED:
        return None
    if media_type.startswith("application/cloudevents"):
        raise MalformedEvent(f"content type {media_type!r} is not taken: use {CONTENT_TYPE_STRUCTURED}")
    attributes = header_attributes(headers)
    if not attributes:
        raise MalformedEvent(
            f"not a CloudEvent: send ce-id, ce-source, ce-type and ce-specversion headers, or {CONTENT_TYPE_STRUCTURED}"
        )
    if "datacontenttype" in attributes:
        raise MalformedEvent("datacontenttype travels as the Content-Type header in binary mode")
    if content_type:
        attributes["datacontenttype"] = content_type
    return attributes


def envelope(attributes: Mapping[str, str], body: bytes) -> Envelope:
    """The event with these attributes and the bytes of its data. Raises MalformedEvent with the reason."""
    check(attributes)
    content_type = attributes.get("datacontenttype")
    if content_type and not body and _is_json(content_type):
        raise MalformedEvent("the body is empty, but the Content-Type says JSON")
    return Envelope(attributes, body, _json_data(attributes, body))


def encode(event: WireEvent) -> tuple[dict[str, str], bytes]:
    """Headers and body of the binary mode."""
    headers = {
        f"ce-{name}": header_values.encoded(value)
        for name, value in event.attributes.items()
        if name != "datacontenttype"
    }
    if "datacontenttype" in event.attributes:
        headers["content-type"] = event.attributes["datacontenttype"]
    return headers, event.body


def header_attributes(headers: Mapping[str, str]) -> dict[str, str]:
    """The attributes in `ce-` headers, decoded and not checked. Header names are lower-case."""
    return {name[3:]: _from_header(name[3:], value) for name, value in headers.items() if name.startswith("ce-")}


def _from_header(name: str, header: str) -> str:
    """A URI that a broker passed on as it was, with its own percent-encoding, would not be a URI when decoded."""
    value = header_values.decoded(header)
    return header if name in _URIS and _NOT_IN_URI.search(value) and not _NOT_IN_URI.search(header) else value


def _structured(body: bytes) -> Envelope:
    try:
        document = strict_json.parse(body)
    except strict_json.InvalidJson as error:
        raise MalformedEvent(f"the structured event is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise MalformedEvent("a structured event is a JSON object; batches are not taken")
    payload: dict[str, JsonValue] = {name: document.pop(name) for name in ("data", "data_base64") if name in document}
    if payload.get("data_base64", "") is None:
        del payload["data_base64"]
    if len(payload) > 1:
        if payload["data"] is not None:
            raise MalformedEvent("data and data_base64 exclude each other")
        del payload["data"]
    # JSON format, section 2.2: an attribute that is null is not set.
    attributes = {name: _text(name, value) for name, value in document.items() if value is not None}
    check(attributes)
    return _with_payload(attributes, payload)


def _with_payload(attributes: Mapping[str, str], payload: Mapping[str, JsonValue]) -> Envelope:
    if "data_base64" in payload:
        raw = _base64(payload["data_base64"])
        return Envelope(attributes, raw, _json_data(attributes, raw))
    if "data" not in payload:
        return Envelope(attributes, b"", None)
    data = payload["data"]
    if _is_json(attributes.get("datacontenttype")):
        return Envelope(attributes, strict_json.compact(data), data)
    if not isinstance(data, str):
        raise MalformedEvent("data must be text when datacontenttype is not JSON")
    return Envelope(attributes, data.encode(), None)


def _text(name: str, value: JsonValue) -> str:
    """A structured attribute as text: only extensions may be integers or booleans."""
    if isinstance(value, str):
        return value
    if name in (*_REQUIRED, "subject", "time", "datacontenttype", "dataschema", "partitionkey"):
        raise MalformedEvent(f"the attribute {name[:40]!r} must be a string")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and -(2**31) <= value < 2**31:
        return str(value)
    raise MalformedEvent(f"the attribute {name[:40]!r} must be a string, a boolean or a 32-bit integer")


def check(attributes: Mapping[str, str]) -> None:
    """Whether these attributes make an event that every hop can carry. Raises MalformedEvent with the reason."""
    for name in _REQUIRED:
        if not attributes.get(name, "").strip():
            raise MalformedEvent(f"the attribute {name!r} is missing or empty")
    if attributes["specversion"] != "1.0":
        raise MalformedEvent(f"specversion must be 1.0, not {attributes['specversion'][:20]!r}")
    for name, value in attributes.items():
        if not _NAME.fullmatch(name) or name == _RESERVED:
            raise MalformedEvent(
                f"the attribute name {name[:70]!r} must be lower-case letters and digits, and not 'data'"
            )
        if _NOT_TEXT.search(value):
            raise MalformedEvent(
                f"the attribute {name!r} must be Unicode text on one line, without control characters; a header is"
                " percent-encoded UTF-8"
            )
        if not value and name in _NOT_EMPTY:
            raise MalformedEvent(f"the attribute {name!r} must not be empty: give it a value, or leave it out")
    if not _PRINTABLE.fullmatch(attributes.get("datacontenttype", "")):
        raise MalformedEvent("the attribute 'datacontenttype' must be printable ASCII on one line")
    for name in _KEYS:
        if len(attributes.get(name, "").encode()) > _MAX_KEY:
            raise MalformedEvent(f"the attribute {name!r} must have at most {_MAX_KEY} bytes in UTF-8")
    for name in _URIS:
        if _NOT_IN_URI.search(attributes.get(name, "")):
            raise MalformedEvent(f"the attribute {name!r} must be a URI reference: percent-encode what is none of it")
    if "time" in attributes:
        _check_time(attributes["time"])


def check_size(event: WireEvent) -> None:
    """Whether a broker can carry this event: over 1 MiB it answers 503, now and later. Raises EventTooLarge."""
    if (size := event.size) > MAX_EVENT_BYTES:
        name = event.attributes["type"]
        raise EventTooLarge(f"the event {name} has {size} bytes; a broker carries {MAX_EVENT_BYTES}")


def _check_time(value: str) -> None:
    if not _TIME.fullmatch(value):
        raise MalformedEvent(f"the attribute 'time' must be an RFC 3339 timestamp, not {value[:40]!r}")
    try:
        datetime.fromisoformat(re.sub(r"\.\d+", "", value.upper()))
    except ValueError:
        raise MalformedEvent(f"the attribute 'time' names no moment: {value[:40]!r}") from None


def _json_data(attributes: Mapping[str, str], body: bytes) -> JsonValue:
    """The parsed data, or None when there is none or it is not declared to be JSON."""
    if not body or not _is_json(attributes.get("datacontenttype")):
        return None
    try:
        return strict_json.parse(body)
    except strict_json.InvalidJson as error:
        raise MalformedEvent(f"the data is not JSON: {error}") from None


def _is_json(content_type: str | None) -> bool:
    """JSON is the default where a structured event says nothing (JSON format, section 3.1)."""
    return content_type is None or bool(_JSON_MEDIA_TYPE.fullmatch(content_type.partition(";")[0].strip()))


def _base64(value: JsonValue) -> bytes:
    if not isinstance(value, str):
        raise MalformedEvent("data_base64 must be a string")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedEvent("data_base64 is not base64") from None
