from __future__ import annotations

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knative.local.broker import wire
from knative.local.broker.wire import MalformedRequest, Record, UnusableKey

STRUCTURED = [("content-type", "application/cloudevents+json")]
BASE = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
TEXT = st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), max_size=20)


def structured(**more: object) -> Record:
    return wire.decode(STRUCTURED, json.dumps({**BASE, **more}).encode())


@given(
    st.dictionaries(st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True), TEXT, max_size=5),
    st.one_of(st.none(), st.binary(min_size=1, max_size=100)),
)
def test_binary_mode_round_trips(extensions: dict[str, str], data: bytes | None) -> None:
    reserved = {*BASE, "time", "dataschema", "datacontenttype"}
    kept = {name: value for name, value in extensions.items() if name not in reserved}
    record = Record({**kept, **BASE, "datacontenttype": "application/x"}, data)
    assert wire.decode(wire.encode(record).items(), data or b"") == record


@given(st.binary(max_size=60))
def test_any_bytes_are_an_event_or_refused(body: bytes) -> None:
    with contextlib.suppress(MalformedRequest, UnusableKey):
        wire.decode(STRUCTURED, body)


@pytest.mark.parametrize("name", ["subject", "time", "datacontenttype", "dataschema"])
def test_an_optional_attribute_that_is_null_is_not_set(name: str) -> None:
    assert structured(**{name: None}).attributes == BASE


@pytest.mark.parametrize("name", ["id", "source", "type", "specversion"])
def test_a_required_attribute_is_never_null(name: str) -> None:
    with pytest.raises(MalformedRequest, match=f"{name} must be a text"):
        structured(**{name: None})


def test_json_data_is_written_again() -> None:
    body = b'{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{ "b" : 1e3, "a": 1, "a": 2 }}'
    assert wire.decode(STRUCTURED, body).data == b'{"b":1000.0,"a":2}'


@pytest.mark.parametrize(
    ("fields", "data"),
    [
        ({"data": {"a": [1]}}, b'{"a":[1]}'),
        ({"data": "x"}, b'"x"'),
        ({"data": "ä"}, '"ä"'.encode()),
        ({"data": None}, b"null"),
        ({"data": "x", "datacontenttype": "text/plain"}, b"x"),
        ({"data": {"a": 1}, "datacontenttype": "application/vnd.x+json"}, b'{"a":1}'),
        ({"data_base64": base64.b64encode(b"\x00\xff").decode()}, b"\x00\xff"),
        ({"specversion": "0.3", "datacontentencoding": "base64", "data": "AP8="}, b"\x00\xff"),
        ({}, None),
    ],
)
def test_structured_data(fields: dict[str, object], data: bytes | None) -> None:
    assert structured(**fields).data == data


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        (5, "5"),
        (-(2**31), "-2147483648"),
        (True, "true"),
        ({"a": [1]}, '{"a":[1]}'),
        ([1, 2], "[1,2]"),
        (None, "null"),
    ],
)
def test_extensions_become_text(value: object, text: str) -> None:
    assert structured(extension=value).attributes["extension"] == text


@pytest.mark.parametrize(
    ("given_time", "kept"),
    [
        ("2026-01-01T00:00:00.100Z", "2026-01-01T00:00:00.1Z"),
        ("2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00Z"),
        ("2026-01-01T00:00:10Z", "2026-01-01T00:00:10Z"),
        ("2026-01-01t00:00:00z", "2026-01-01T00:00:00Z"),
        ("2026-01-01T00:00:00.120+02:00", "2026-01-01T00:00:00.12+02:00"),
    ],
)
def test_time_loses_trailing_zeros(given_time: str, kept: str) -> None:
    assert structured(time=given_time).attributes["time"] == kept


def test_trace_headers_are_kept_apart_from_the_attributes() -> None:
    headers = {"traceparent": "00-1-2-01", "tracestate": "a=b", **{f"ce-{k}": v for k, v in BASE.items()}}
    record = wire.decode(headers.items(), b"")
    assert record.trace == {"traceparent": "00-1-2-01", "tracestate": "a=b"}
    assert "traceparent" not in record.attributes
    assert wire.encode(record) == headers


def test_other_headers_are_not_part_of_the_event() -> None:
    headers = {"x-forwarded-for": "1.2.3.4", **{f"ce-{k}": v for k, v in BASE.items()}}
    assert wire.decode(headers.items(), b"x").attributes == BASE


def test_size_counts_key_headers_and_data() -> None:
    assert Record({"id": "12", "partitionkey": "abc"}, b"data").size == len("id12partitionkeyabc") + len("abc") + 4


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\x00b", "a\x7f"])
def test_a_control_character_is_refused(value: str) -> None:
    with pytest.raises(MalformedRequest, match="subject holds a control character"):
        structured(subject=value)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(MalformedRequest, match="subject is not UTF-8"):
        wire.decode([*((f"ce-{k}", v) for k, v in BASE.items()), ("ce-subject", "\udcff")], b"")


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(MalformedRequest, match="nested too deeply"):
        wire.decode(STRUCTURED, b"[" * 200_000)
