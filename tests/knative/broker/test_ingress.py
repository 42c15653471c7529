"""The table of what the ingress answers, over real HTTP."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from knative.local.broker.broker import Broker
from knative.local.broker.ingress import Ingress
from knative.local.serving.gateway import Gateway
from shared.eventing import codec
from tests.knative.conftest import StartBroker, Subscribe, fill, make_room
from tests.support.subscribers import Subscriber, serving, subscriber

CE = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}
EVENT = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
JSON = "application/cloudevents+json"
PATH = "/sentinel/default"


@pytest.fixture
async def taker() -> AsyncIterator[Subscriber]:
    async with subscriber() as found:
        yield found


@pytest.fixture
async def broker(start_broker: StartBroker, subscribe: Subscribe, taker: Subscriber) -> Broker:
    return await start_broker(subscribe(taker.url))


@pytest.fixture
async def url(broker: Broker) -> AsyncIterator[str]:
    gateway = Gateway(Ingress({"sentinel/default": broker}), {}, lambda: "index\n")
    async with serving(gateway.handle) as found:
        yield found


async def post(
    session: aiohttp.ClientSession,
    url: str,
    headers: dict[str, str] | list[tuple[str, str]],
    body: bytes = b"",
    path: str = PATH,
) -> tuple[int, str]:
    async with session.post(url + path, headers=headers, data=io.BytesIO(body)) as response:
        return response.status, await response.text()


def without(name: str) -> dict[str, str]:
    return {header: value for header, value in CE.items() if header != name}


def structured(**more: object) -> bytes:
    return json.dumps({**EVENT, **more}).encode()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (CE, b""),
        ({**CE, "content-type": "application/json"}, b"{}"),
        ({**CE, "content-type": "application/json"}, b"not json"),
        ({**CE, "ce-specversion": "0.3"}, b""),
        ({**CE, "ce-id": "", "ce-source": "", "ce-type": ""}, b""),
        ({**CE, "CE-UPPER": "x"}, b""),
        ({"content-type": JSON}, structured()),
        ({"content-type": JSON + "; charset=utf-8"}, structured()),
        ({"content-type": JSON + "; charset=iso-8859-1"}, structured()),
        ({"content-type": JSON}, structured(specversion="0.3")),
        ({"content-type": JSON}, b"\xef\xbb\xbf" + structured()),
        ({"content-type": JSON}, structured() + b" and more"),
        ({"content-type": JSON}, b'{"id":"0",' + structured()[1:]),
        ({"content-type": JSON}, structured(a={"b": 1}, c=[1], d=None)),
    ],
)
async def test_is_accepted(session: aiohttp.ClientSession, url: str, headers: dict[str, str], body: bytes) -> None:
    assert await post(session, url, headers, body) == (202, "")


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        ({}, b"{}", "not a CloudEvent"),
        ({"content-type": "application/json"}, b"{}", "not a CloudEvent"),
        ({"content-type": "application/cloudevents-batch+json"}, b"[]", "only single events"),
        ({"content-type": "Application/CloudEvents+JSON"}, structured(), "not a CloudEvent"),
        *((without(f"ce-{name}"), b"", f"{name} is missing") for name in EVENT),
        ({**CE, "ce-specversion": "2.0"}, b"", "specversion"),
        ({**CE, "ce-specversion": "1"}, b"", "specversion"),
        ({**CE, "ce-specversion": ""}, b"", "specversion"),
        ({**CE, "ce-source": "a b"}, b"", "source"),
        ({**CE, "ce-dataschema": "a b"}, b"", "dataschema"),
        ({**CE, "ce-time": "2026-01-01T00:00:00"}, b"", "time"),
        ({**CE, "ce-time": "2026-01-01"}, b"", "time"),
        ({**CE, "ce-time": "2026-01-01T00:00:60Z"}, b"", "time"),
        ({**CE, "ce-time": "2026-02-30T00:00:00Z"}, b"", "time"),
        ({**CE, "ce-a_b": "x"}, b"", "a_b"),
        ({**CE, "ce-a-b": "x"}, b"", "a-b"),
        ({**CE, "ce-a.b": "x"}, b"", "a.b"),
        ({"content-type": JSON}, b"{", "not JSON"),
        ({"content-type": JSON}, b"", "not JSON"),
        ({"content-type": JSON}, b'{"a":NaN}', "not JSON"),
        ({"content-type": JSON}, b'{"a":"\xff"}', "not UTF-8"),
        ({"content-type": JSON}, b"[]", "not a JSON object"),
        ({"content-type": JSON}, structured(data="x", data_base64="eA=="), "exclude"),
        ({"content-type": JSON}, structured(data_base64="?"), "base64"),
        ({"content-type": JSON}, structured(data_base64=5), "base64"),
        ({"content-type": JSON}, structured(id=None), "id must be a text"),
        ({"content-type": JSON}, structured(id=5), "id must be a text"),
        ({"content-type": JSON}, structured(data={}, datacontenttype="text/plain"), "is not JSON"),
        ({"content-type": JSON}, structured(Upper="x"), "Upper"),
        ({"content-type": JSON}, structured(a_b="x"), "a_b"),
        ({"content-type": JSON}, structured(float=1.5), "32 bits"),
        ({"content-type": JSON}, structured(large=2**31), "32 bits"),
        ({"content-type": JSON}, b'{"data":1e999,' + structured()[1:], "out of range"),
        ({"content-type": JSON}, structured(subject="a\nb"), "control character"),
    ],
)
async def test_is_refused_with_the_reason(
    session: aiohttp.ClientSession, url: str, headers: dict[str, str], body: bytes, reason: str
) -> None:
    status, text = await post(session, url, headers, body)
    assert status == 400
    assert reason in text


@pytest.mark.parametrize("value", [5, None, True, {}, []])
async def test_a_partition_key_that_is_no_text_is_503(session: aiohttp.ClientSession, url: str, value: object) -> None:
    assert (await post(session, url, {"content-type": JSON}, structured(partitionkey=value)))[0] == 503


@pytest.mark.parametrize("path", ["/", "/sentinel", "/sentinel/other", "/sentinel/default/more"])
async def test_an_unknown_path_is_404_and_names_the_brokers(
    session: aiohttp.ClientSession, url: str, path: str
) -> None:
    status, text = await post(session, url, CE, path=path)
    assert status == 404
    assert "/sentinel/default" in text


@pytest.mark.parametrize("path", ["/sentinel/default/", "/sentinel/default?a=b"])
async def test_a_trailing_slash_and_a_query_are_ignored(session: aiohttp.ClientSession, url: str, path: str) -> None:
    assert (await post(session, url, CE, path=path))[0] == 202


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", [PATH, "/unknown"])
async def test_only_post_whatever_the_path(session: aiohttp.ClientSession, url: str, method: str, path: str) -> None:
    async with session.request(method, url + path, headers=CE) as response:
        assert response.status == 405


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probes(session: aiohttp.ClientSession, url: str, path: str) -> None:
    async with session.get(url + path) as response:
        assert response.status == 200


async def test_the_index(session: aiohttp.ClientSession, url: str) -> None:
    async with session.get(url + "/") as response:
        assert await response.text() == "index\n"


async def test_headers_over_8_kib(session: aiohttp.ClientSession, url: str) -> None:
    many = {f"ce-extension{i}": "x" * 1000 for i in range(9)}
    assert (await post(session, url, {**CE, **many}))[0] == 431


async def test_a_uri_over_4_kib(session: aiohttp.ClientSession, url: str) -> None:
    assert (await post(session, url, CE, path=PATH + "?" + "x" * 4100))[0] == 414


@pytest.mark.parametrize("size", [1_048_576, 3_000_000])
async def test_an_event_over_1_mib(session: aiohttp.ClientSession, url: str, size: int) -> None:
    assert (await post(session, url, CE, b"x" * size))[0] == 503


async def test_a_large_event_below_the_limit(session: aiohttp.ClientSession, url: str, taker: Subscriber) -> None:
    assert (await post(session, url, CE, b"x" * 1_000_000))[0] == 202
    await taker.wait_for_count(1)
    assert len(taker.received[0].body) == 1_000_000


async def test_chunked(session: aiohttp.ClientSession, url: str, taker: Subscriber) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(0)
        yield b"b"

    async with session.post(url + PATH, headers=CE, data=chunks()) as response:
        assert response.status == 202
    await taker.wait_for_count(1)
    assert taker.received[0].body == b"ab"


@pytest.mark.parametrize(
    ("headers", "body", "value"),
    [
        ({"content-type": JSON}, structured(subject="Zürich, 東京"), "Zürich, 東京"),
        ({**CE, "ce-subject": "Z%C3%BCrich"}, b"", "Z%C3%BCrich"),
        ({**CE, "ce-subject": "Zürich"}, b"", "Zürich"),
    ],
)
async def test_header_values_are_neither_encoded_nor_decoded_on_the_way(
    session: aiohttp.ClientSession, url: str, taker: Subscriber, headers: dict[str, str], body: bytes, value: str
) -> None:
    assert (await post(session, url, headers, body))[0] == 202
    await taker.wait_for_count(1)
    assert taker.received[0].headers["ce-subject"] == value


async def test_a_text_arrives_as_the_same_event_however_it_was_sent(
    session: aiohttp.ClientSession, url: str, taker: Subscriber
) -> None:
    for headers, body in [
        ({"content-type": JSON}, structured(subject="Zürich")),
        ({**CE, "ce-subject": "Z%C3%BCrich"}, b""),
        ({**CE, "ce-subject": "Zürich"}, b""),
    ]:
        assert (await post(session, url, headers, body))[0] == 202
    await taker.wait_for_count(3)
    # A function sees one character a byte.
    seen = [{k: v.encode().decode("latin-1") for k, v in each.headers.items()} for each in taker.received]
    assert {codec.decode(headers, b"").attributes["subject"] for headers in seen} == {"Zürich"}


async def test_the_last_of_duplicate_headers_wins(session: aiohttp.ClientSession, url: str, taker: Subscriber) -> None:
    assert (await post(session, url, [*CE.items(), ("ce-x", "first"), ("ce-x", "last")]))[0] == 202
    await taker.wait_for_count(1)
    assert taker.received[0].headers["ce-x"] == "last"


async def test_broken_json_in_binary_mode_arrives_untouched(
    session: aiohttp.ClientSession, url: str, taker: Subscriber
) -> None:
    await post(session, url, {**CE, "content-type": "application/json"}, b'{"a": 1,}')
    await taker.wait_for_count(1)
    assert taker.received[0].body == b'{"a": 1,}'


@pytest.mark.parametrize("body", [gzip.compress(b"{}"), b"this is not gzip"], ids=["gzip", "no gzip"])
async def test_a_compressed_body_arrives_untouched(
    session: aiohttp.ClientSession, url: str, taker: Subscriber, body: bytes
) -> None:
    assert (await post(session, url, {**CE, "content-encoding": "gzip"}, body))[0] == 202
    await taker.wait_for_count(1)
    assert taker.received[0].body == body


async def test_header_values_are_not_percent_decoded(
    session: aiohttp.ClientSession, url: str, taker: Subscriber
) -> None:
    await post(session, url, {**CE, "ce-subject": "a%20b"})
    await taker.wait_for_count(1)
    assert taker.received[0].headers["ce-subject"] == "a%20b"


async def test_a_bad_event_does_not_stop_the_next(session: aiohttp.ClientSession, url: str, taker: Subscriber) -> None:
    assert (await post(session, url, {"content-type": JSON}, b"{"))[0] == 400
    assert (await post(session, url, {**CE, "ce-id": "good"}))[0] == 202
    await taker.wait_for_count(1)
    assert taker.received[0].id == "good"


async def test_a_log_that_cannot_be_written_is_503_until_it_can(
    session: aiohttp.ClientSession, url: str, broker: Broker, taker: Subscriber
) -> None:
    fill(broker)
    status, reason = await post(session, url, CE)
    assert status == 503
    assert "the log cannot be written" in reason
    make_room(broker)
    assert (await post(session, url, {**CE, "ce-id": "after"}))[0] == 202
    await taker.wait_for_count(1)
    assert [each.id for each in taker.received] == ["after"]
