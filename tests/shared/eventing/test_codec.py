"""The wire form of CloudEvents: what is refused, what is kept, what two spellings have in common."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knative.local.broker import wire
from shared.errors import MalformedEvent
from shared.eventing import codec, strict_json
from shared.eventing.event import Envelope, WireEvent

BINARY = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/test", "ce-type": "t"}
JSON = {"content-type": "application/json"}
STRUCTURED = {"content-type": "application/cloudevents+json"}


def document(**fields: object) -> dict[str, object]:
    return {"specversion": "1.0", "id": "1", "source": "/test", "type": "t", **fields}


def structured(**fields: object) -> Envelope:
    return codec.decode(STRUCTURED, json.dumps(document(**fields)).encode())


def reason(headers: dict[str, str], body: bytes = b"") -> str:
    with pytest.raises(MalformedEvent) as refused:
        codec.decode(headers, body)
    return str(refused.value)


@pytest.mark.parametrize("name", ["id", "source", "type", "specversion"])
@pytest.mark.parametrize("value", [None, "", "   "])
def test_a_required_attribute_is_there_and_not_blank(name: str, value: str | None) -> None:
    headers = BINARY | ({} if value is None else {f"ce-{name}": value})
    fields = document(**{} if value is None else {name: value})
    if value is None:
        del headers[f"ce-{name}"], fields[name]
    assert f"'{name}' is missing or empty" in reason(headers)
    assert f"'{name}' is missing or empty" in reason(STRUCTURED, json.dumps(fields).encode())


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"specversion": "2.0"}, "specversion must be 1.0"),
        ({"specversion": "0.3"}, "specversion must be 1.0"),
        ({"specversion": "1"}, "specversion must be 1.0"),
        ({"source": "/a b"}, "'source' must be a URI reference"),
        ({"source": "/{x}"}, "'source' must be a URI reference"),
        ({"source": "<x>"}, "'source' must be a URI reference"),
        ({"time": "yesterday"}, "'time' must be an RFC 3339 timestamp"),
        ({"time": "2026-01-01"}, "'time' must be an RFC 3339 timestamp"),
        ({"time": "2026-01-01T00:00:00"}, "'time' must be an RFC 3339 timestamp"),
        ({"time": "2026-01-01 00:00:00Z"}, "'time' must be an RFC 3339 timestamp"),
        ({"time": "2026-01-01T00:00:60Z"}, "'time' names no moment"),
        ({"time": "2026-02-30T00:00:00Z"}, "'time' names no moment"),
        ({"time": "2026-01-01T00:00:00+99:99"}, "'time' names no moment"),
        ({"time": ""}, "'time' must be an RFC 3339 timestamp"),
        ({"my_extension": "x"}, "must be lower-case letters and digits"),
        ({"my-extension": "x"}, "must be lower-case letters and digits"),
        ({"my.extension": "x"}, "must be lower-case letters and digits"),
        ({"": "x"}, "must be lower-case letters and digits"),
        ({"x" * 65: "x"}, "must be lower-case letters and digits"),
        ({"id": "a\nce-x: b"}, "'id' must be Unicode text on one line"),
        ({"extension": "a\r\nb"}, "'extension' must be Unicode text on one line"),
        ({"subject": "a\tb"}, "'subject' must be Unicode text on one line"),
        ({"extension": "\x7f"}, "'extension' must be Unicode text on one line"),
        ({"extension": "a\uffffb"}, "'extension' must be Unicode text on one line"),
        ({"id": "x" * 1025}, "'id' must have at most 1024 bytes in UTF-8"),
        ({"source": "/" * 1025}, "'source' must have at most 1024 bytes in UTF-8"),
        ({"partitionkey": "x" * 1025}, "'partitionkey' must have at most 1024 bytes in UTF-8"),
        ({"dataschema": "http://x/a b"}, "'dataschema' must be a URI reference"),
        ({"subject": ""}, "'subject' must not be empty: give it a value, or leave it out"),
        ({"dataschema": ""}, "'dataschema' must not be empty"),
        ({"partitionkey": ""}, "'partitionkey' must not be empty"),
        ({"dataref": ""}, "'dataref' must not be empty"),
        ({"sequence": ""}, "'sequence' must not be empty"),
    ],
)
def test_attributes_that_are_refused_in_both_modes(attributes: dict[str, str], expected: str) -> None:
    assert expected in reason(BINARY | {f"ce-{name}": value for name, value in attributes.items()})
    assert expected in reason(STRUCTURED, json.dumps(document(**attributes)).encode())


NULLS = ("subject", "time", "dataschema", "datacontenttype", "partitionkey", "extension", "data_base64")


@pytest.mark.parametrize("name", NULLS)
def test_null_means_that_nothing_is_set(name: str) -> None:
    assert structured(data={"a": 1}, **{name: None}) == structured(data={"a": 1})


def test_null_data_beside_data_base64_is_no_data() -> None:
    assert structured(data=None, data_base64="e30=") == structured(data_base64="e30=")


def through_the_broker(event: dict[str, object]) -> Envelope:
    """What a function reads of a structured event that a Kafka broker delivers: headers as raw UTF-8, not encoded."""
    record = wire.decode(STRUCTURED.items(), json.dumps(event).encode())
    headers = {name: value.encode().decode("latin-1") for name, value in wire.encode(record).items()}
    return codec.decode(headers, record.data or b"")


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        ("Zürich", ["Z%C3%BCrich", "Z%c3%bcrich", "ZÃ¼rich", "%5A%C3%BCrich", '"ZÃ¼rich"']),
        ("東京 2", ["%E6%9D%B1%E4%BA%AC%202", "%E6%9D%B1%E4%BA%AC 2"]),
        ("😀", ["%F0%9F%98%80"]),
        ("100%", ["100%25", "100%"]),
        ("50%zz%F", ["50%25zz%25F", "50%zz%F"]),
        ('say "a"', ["say%20%22a%22", 'say "a"', '"say \\"a\\""']),
        ("a%2Fb", ["a%252Fb"]),
        ("%ff", ["%25ff", "%ff"]),
    ],
)
def test_a_value_and_every_header_for_it_are_the_same(value: str, headers: list[str]) -> None:
    for name in ("subject", "id", "extension"):
        expected = structured(**{name: value})
        assert expected.attributes[name] == value
        for header in headers:
            assert codec.decode(BINARY | {f"ce-{name}": header}, b"") == expected
        sent, body = codec.encode(WireEvent(expected.attributes, expected.body))
        assert all(0x21 <= ord(character) <= 0x7E for character in sent[f"ce-{name}"])
        assert codec.decode(sent, body) == expected
        if "%2F" not in value:  # a broker that does not encode cannot tell it from an encoded one
            assert through_the_broker(document(**{name: value})) == expected


@pytest.mark.parametrize("uri", ["/a%20b", "/Z%C3%BCrich", "urn:x:100%25", "/plain"])
def test_a_uri_keeps_its_own_encoding_through_a_broker(uri: str) -> None:
    expected = structured(source=uri, dataschema=f"https://x{uri}" if uri[0] == "/" else uri)
    sent, body = codec.encode(WireEvent(expected.attributes, expected.body))
    assert codec.decode(sent, body) == expected
    if "%25" not in uri:
        assert through_the_broker(dict(expected.attributes)) == expected


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), min_size=1, max_size=60))
def test_any_text_survives_the_binding(value: str) -> None:
    expected = structured(subject=value)
    assert codec.decode(*codec.encode(WireEvent(expected.attributes, expected.body))) == expected


def test_an_extension_may_be_empty() -> None:
    assert structured(extension="").attributes["extension"] == ""


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "not a CloudEvent: send ce-id, ce-source, ce-type"),
        (JSON, "not a CloudEvent: send ce-id, ce-source, ce-type"),
        ({"content-type": "application/cloudevents-batch+json"}, "batches are not taken"),
        ({"content-type": "application/cloudevents+jsonfoo"}, "is not taken: use application/cloudevents+json"),
        ({"content-type": "application/cloudevents+xml"}, "is not taken: use application/cloudevents+json"),
        ({"content-type": "application/cloudevents"}, "is not taken: use application/cloudevents+json"),
        (BINARY | {"ce-datacontenttype": "application/json"}, "travels as the Content-Type header"),
        (BINARY | {"ce-data": "x"}, "'data' must be lower-case letters and digits, and not 'data'"),
        (BINARY | {"ce-Upper": "x"}, "'Upper' must be lower-case letters and digits"),
        (BINARY | {"content-type": "application/json\n"}, "'datacontenttype' must be Unicode text on one line"),
        (BINARY | {"content-type": "application/jsön"}, "'datacontenttype' must be printable ASCII"),
        (BINARY | {"ce-subject": "Z\xfcrich"}, "'subject' must be Unicode text on one line"),
        (BINARY | {"ce-subject": "a%0Ab"}, "'subject' must be Unicode text on one line"),
    ],
)
def test_headers_that_are_no_event(headers: dict[str, str], expected: str) -> None:
    assert expected in reason(headers, b"{}")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "not JSON"),
        (b"[]", "batches are not taken"),
        (b"7", "is a JSON object"),
        (b"{", "not JSON"),
        (json.dumps(document()).encode() + b" {}", "Extra data"),
        (b"\xef\xbb\xbf" + json.dumps(document()).encode(), "BOM"),
        (b'{"id": "\xff"}', "not UTF-8 at byte 8"),
    ],
)
def test_a_structured_body_that_is_no_event(body: bytes, expected: str) -> None:
    assert expected in reason(STRUCTURED, body)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"id": 7}, "'id' must be a string"),
        ({"id": None}, "'id' is missing or empty"),
        ({"id": "ü" * 513}, "'id' must have at most 1024 bytes in UTF-8"),
        ({"source": "/Zürich"}, "'source' must be a URI reference"),
        ({"datacontenttype": ""}, "'datacontenttype' must not be empty"),
        ({"source": ["/a"]}, "'source' must be a string"),
        ({"subject": 1}, "'subject' must be a string"),
        ({"time": 0}, "'time' must be a string"),
        ({"partitionkey": 5}, "'partitionkey' must be a string"),
        ({"extension": {}}, "must be a string, a boolean or a 32-bit integer"),
        ({"extension": []}, "must be a string, a boolean or a 32-bit integer"),
        ({"extension": 1.5}, "must be a string, a boolean or a 32-bit integer"),
        ({"extension": 2**31}, "must be a string, a boolean or a 32-bit integer"),
        ({"Extension": "x"}, "'Extension' must be lower-case letters and digits"),
        ({"data": {}, "data_base64": "e30="}, "data and data_base64 exclude each other"),
        ({"data_base64": "e30"}, "data_base64 is not base64"),
        ({"data_base64": "%%%%"}, "data_base64 is not base64"),
        ({"data_base64": "é"}, "data_base64 is not base64"),
        ({"data_base64": 7}, "data_base64 must be a string"),
        ({"data_base64": base64.b64encode(b"{").decode()}, "the data is not JSON"),
        ({"datacontenttype": "text/plain", "data": {"a": 1}}, "data must be text when datacontenttype is not JSON"),
        ({"datacontenttype": "text/plain", "data": None}, "data must be text when datacontenttype is not JSON"),
    ],
)
def test_structured_fields_that_are_refused(fields: dict[str, object], expected: str) -> None:
    assert expected in reason(STRUCTURED, json.dumps(document(**fields)).encode())


BAD_JSON = [
    (b"{", "the data is not JSON"),
    (b"nul", "the data is not JSON"),
    (b'{"a": NaN}', "NaN is not JSON"),
    (b"[Infinity]", "Infinity is not JSON"),
    (b"[-Infinity]", "-Infinity is not JSON"),
    (b"[1e400]", "1e400 is too large"),
    (b'{"a": 1.5, "b": {"c": 0.5, "d": -1e400}}', "-1e400 is too large"),
    (b'{"a": 1, "a": 2}', "the key 'a' appears twice"),
    (b'{"x": {"a": 1, "b": 0, "a": 1}}', "the key 'a' appears twice"),
    (b"[" * 65 + b"]" * 65, "nested deeper than 64 levels"),
    (b"[" * 100_000, "nested deeper than 64 levels"),
    (b'{"a":' * 65 + b"1" + b"}" * 65, "nested deeper than 64 levels"),
    (b"[" + b"9" * 5000 + b"]", "too many digits"),
    (b'"\xff"', "not UTF-8 at byte 1"),
    (b'\xef\xbb\xbf{"a": 1}', "BOM"),
    (b'{"a": "b\x00c"}', "control character"),
    (b'{"a": "b\\u0000c"}', "U+0000 or half a surrogate pair"),
    (b'{"a\\ud800": 1}', "U+0000 or half a surrogate pair"),
    (b'["\\uDC00"]', "U+0000 or half a surrogate pair"),
    (b'{"a": 1} x', "Extra data"),
    (b"{'a': 1}", "the data is not JSON"),
]


@pytest.mark.parametrize(("body", "expected"), BAD_JSON)
def test_data_that_is_not_json_although_it_says_so(body: bytes, expected: str) -> None:
    assert expected in reason(BINARY | JSON, body)
    encoded = base64.b64encode(body).decode()
    assert expected in reason(STRUCTURED, json.dumps(document(data_base64=encoded)).encode())


@pytest.mark.parametrize("content_type", ["application/json", "application/JSON; charset=utf-8", "a/b+json"])
def test_an_empty_body_is_not_json(content_type: str) -> None:
    assert "the body is empty, but the Content-Type says JSON" in reason(BINARY | {"content-type": content_type})


def test_a_repeated_key_among_many_is_found_at_once() -> None:
    # Quadratic, this took minutes on a body under the cap.
    body = b"{" + b",".join(b'"%d":1' % n for n in range(90_000)) + b',"89999":1}'
    assert "the key '89999' appears twice" in reason(BINARY | JSON, body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1, "a" :":"}',
        b'{"a":"::", "a":1}',
        b'{"a":1, "\\u0061":1}',
        b'{"a:":1, "a\\u003A":"b"}',
        b'[{"b:":"::", "x":[{"a":{}, "a":[]}]}]',
        b'{"a":{"b":1}, "a":{"b":1}}',
    ],
)
def test_a_repeated_key_is_found_whatever_else_has_colons(body: bytes) -> None:
    assert "appears twice" in reason(BINARY | JSON, body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a:":":", "b\\u003a":"\\\\u003a", ":":[":", {"c" : 1.50}]}',
        b'":"',
        b"[-0.0, 1e-400, 12345678901234567890123]",
        b"[1e308, 1e308]",
    ],
)
def test_json_is_read_as_python_reads_it_whatever_has_colons(body: bytes) -> None:
    read = codec.decode(BINARY | JSON, body).data
    assert (read, repr(read)) == (json.loads(body), repr(json.loads(body)))


@pytest.mark.parametrize("text", ['"\\ud83d\\ude00"', '"\\\\u0000"', '"\\u00e9"'])
def test_escapes_that_are_unicode_are_taken(text: str) -> None:
    assert codec.decode(BINARY | JSON, text.encode()).data == json.loads(text)


def test_64_levels_are_taken() -> None:
    assert codec.decode(BINARY | JSON, b"[" * 64 + b"]" * 64).body == b"[" * 64 + b"]" * 64


@pytest.mark.parametrize("content_type", ["application/jsonfoo", "application/x+jsonfoo", "text/plain", "json"])
def test_what_is_not_declared_to_be_json_stays_bytes(content_type: str) -> None:
    decoded = codec.decode(BINARY | {"content-type": content_type}, b"{\xff")
    assert (decoded.body, decoded.data) == (b"{\xff", None)


def test_an_event_without_data() -> None:
    assert (codec.decode(BINARY, b"").body, codec.decode(BINARY, b"").data) == (b"", None)
    assert (structured().body, structured().data) == (b"", None)


def test_integers_and_booleans_become_text_in_extensions() -> None:
    attributes = structured(hop=3, flag=True, other=False).attributes
    assert (attributes["hop"], attributes["flag"], attributes["other"]) == ("3", "true", "false")


def test_text_data_in_structured_mode() -> None:
    decoded = structured(datacontenttype="text/plain", data="häh")
    assert (decoded.body, decoded.data) == ("häh".encode(), None)


def test_binary_data_in_structured_mode() -> None:
    decoded = structured(datacontenttype="application/octet-stream", data_base64="AP8=")
    assert (decoded.body, decoded.data) == (b"\x00\xff", None)


@pytest.mark.parametrize(
    "content_type", ["application/cloudevents+json; charset=utf-8", "Application/CloudEvents+JSON"]
)
def test_structured_mode_by_any_spelling_of_its_media_type(content_type: str) -> None:
    body = json.dumps(document(data={"a": 1})).encode()
    assert codec.decode({"content-type": content_type}, body).data == {"a": 1}


@pytest.mark.parametrize(
    "time", ["2026-01-01T00:00:00Z", "2026-01-01t00:00:00.123456789z", "2026-06-30T23:59:59-07:00"]
)
def test_times_that_are_rfc_3339(time: str) -> None:
    assert codec.decode(BINARY | {"ce-time": time}, b"").attributes["time"] == time


# Round trip ----------------------------------------------------------------------------------------------------------

ATTRIBUTE_TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=20)
EXTENSION = st.from_regex(r"x[a-z0-9]{1,10}", fullmatch=True)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=10),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=5), inner),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(EXTENSION, ATTRIBUTE_TEXT, max_size=4), ATTRIBUTE_TEXT.filter(str.strip), JSON_VALUES)
def test_what_is_encoded_decodes_to_the_same(extensions: dict[str, str], event_id: str, data: object) -> None:
    attributes = {"specversion": "1.0", "id": event_id, "source": "/s", "type": "t", "datacontenttype": "text/json"}
    body = json.dumps(data).encode()
    decoded = codec.decode(*codec.encode(WireEvent(attributes | extensions, body)))
    assert (decoded.attributes, decoded.body, decoded.data) == (attributes | extensions, body, data)


def test_an_event_without_a_time_is_encoded_without_one() -> None:
    attributes = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
    assert codec.encode(WireEvent(attributes, b"x")) == ({f"ce-{k}": v for k, v in attributes.items()}, b"x")


HEADER_NAMES = st.sampled_from(
    ["content-type", "ce-id", "ce-source", "ce-type", "ce-specversion", "ce-time", "ce-", "ce-hop", "host"]
)
HEADER_VALUES = st.text(max_size=12) | st.sampled_from(
    ["1.0", "/s", "application/json", "application/cloudevents+json", "2026-01-01T00:00:00Z", "text/plain"]
)
BODIES = (
    st.binary(max_size=40)
    | JSON_VALUES.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(
        st.sampled_from(["specversion", "id", "source", "type", "data", "data_base64", "time", "x"]), JSON_VALUES
    ).map(lambda fields: json.dumps(document(**fields)).encode())
)


@given(st.dictionaries(HEADER_NAMES, HEADER_VALUES), st.booleans(), BODIES)
def test_whatever_comes_is_an_event_or_malformed(headers: dict[str, str], complete: bool, body: bytes) -> None:
    try:
        decoded = codec.decode((BINARY if complete else {}) | headers, body)
    except MalformedEvent:
        return
    assert len(decoded.digest) == 32
    codec.encode(WireEvent(decoded.attributes, decoded.body))


# Digest --------------------------------------------------------------------------------------------------------------


def test_the_data_of_a_structured_event_keeps_the_order_of_its_keys() -> None:
    assert structured(data={"b": 1, "a": {"d": 2, "c": 3}}).body == b'{"b":1,"a":{"d":2,"c":3}}'


def digest(body: bytes, **headers: str) -> bytes:
    return codec.decode(BINARY | JSON | {f"ce-{k}": v for k, v in headers.items()}, body).digest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a": 1e3}', b'{"a":1000.0}'),
        (b'{"a": 1000}', b'{"a": 1000.0}'),
        (b'{"a": 1, "b": 2}', b'{"b":2,"a":1}'),
        (b'["\\u00e9"]', '["é"]'.encode()),
        (b"[0.0]", b"[-0.0]"),
    ],
)
def test_another_spelling_is_the_same_event(one: bytes, other: bytes) -> None:
    assert digest(one) == digest(other)


@pytest.mark.parametrize(
    "other", [b'{"a": 2}', b'{"a": "1"}', b'{"a": true}', b'{"b": 1}', b"[]", b"null", b'{"a": 1.5}']
)
def test_other_data_is_another_event(other: bytes) -> None:
    assert digest(b'{"a": 1}') != digest(other)


def test_what_brokers_add_or_change_does_not_count() -> None:
    plain = digest(b"{}", time="2026-01-01T00:00:00.100Z")
    assert plain == digest(b"{}", time="2026-01-01T00:00:00.1Z", knativekafkapartition="1", traceparent="00-1-1-00")
    assert plain == structured(data={}).digest


@pytest.mark.parametrize("attribute", ["subject", "type", "dataschema"])
def test_another_meaning_is_another_event(attribute: str) -> None:
    assert digest(b"{}") != digest(b"{}", **{attribute: "other"})


@given(JSON_VALUES)
def test_canonical_text_is_json_of_the_same_value(value: object) -> None:
    text = strict_json.canonical(value)  # type: ignore[arg-type]  # hypothesis' values are JSON by construction
    assert strict_json.parse(text) == value
    assert strict_json.canonical(strict_json.parse(text)) == text
