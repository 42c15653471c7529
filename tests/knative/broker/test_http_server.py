"""`Expect: 100-continue` (RFC 9110, section 10.1.1), as a client sees it that waits before it sends its body."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from knative.local.broker.ingress import Ingress
from knative.local.serving.gateway import Gateway
from tests.knative.conftest import StartBroker, Subscribe
from tests.knative.serving.test_services import Start, start
from tests.support.subscribers import BOUND_SECONDS, Subscriber, serving, subscriber

__all__ = ["start"]  # the fixture

PATH = "/sentinel/default"
EVENT = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t", "content-type": "application/json"}
EXPECTING = {**EVENT, "expect": "100-continue"}
CONTINUE = "HTTP/1.1 100 Continue"


@dataclass
class Head:
    """The head of a response, interim or final; header names are lower-case."""

    line: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        return int(self.line.split()[1])


class Client:
    """One connection, on which nothing is sent but what a test says."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send_head(
        self, headers: Mapping[str, str], method: str = "POST", path: str = PATH, version: str = "1.1"
    ) -> None:
        lines = [f"{method} {path} HTTP/{version}", *(f"{k}: {v}" for k, v in {"host": "x", **headers}.items())]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n")

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def head(self) -> Head:
        async with asyncio.timeout(BOUND_SECONDS):
            found = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        line, *rest = found.strip().split("\r\n")
        return Head(line, {name.lower(): value for name, value in (each.split(": ", 1) for each in rest)})

    async def body(self, head: Head) -> bytes:
        async with asyncio.timeout(BOUND_SECONDS):
            return await self._reader.readexactly(int(head.headers["content-length"]))


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


@pytest.fixture
async def taker() -> AsyncIterator[Subscriber]:
    async with subscriber() as found:
        yield found


@pytest.fixture
async def client(start_broker: StartBroker, subscribe: Subscribe, taker: Subscriber) -> AsyncIterator[Client]:
    broker = await start_broker(subscribe(taker.url))
    async with (
        serving(Gateway(Ingress({"sentinel/default": broker}), {}, str).handle) as url,
        connected(url) as found,
    ):
        yield found


@pytest.mark.parametrize("expectation", ["100-continue", "100-Continue"])
@pytest.mark.parametrize(
    ("framing", "sent"),
    [({"content-length": "8"}, b'{"a": 1}'), ({"transfer-encoding": "chunked"}, b'8\r\n{"a": 1}\r\n0\r\n\r\n')],
    ids=["length", "chunked"],
)
async def test_the_ingress_asks_for_a_body_that_waits(
    client: Client, taker: Subscriber, framing: dict[str, str], sent: bytes, expectation: str
) -> None:
    client.send_head({**EXPECTING, **framing, "expect": expectation})
    assert (await client.head()).line == CONTINUE
    client.send(sent)
    assert (await client.head()).status == 202
    await taker.wait_for_count(1)
    assert taker.received[0].body == b'{"a": 1}'
    assert "expect" not in taker.received[0].headers


async def test_a_body_that_did_not_wait_is_taken_and_the_connection_stays(client: Client, taker: Subscriber) -> None:
    for number in ("1", "2"):
        client.send_head({**EXPECTING, "ce-id": number, "content-length": "2"})
        client.send(b"{}")
        assert (await client.head()).line == CONTINUE
        assert (await client.head()).status == 202
    await taker.wait_for_count(2)


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        ({"headers": EXPECTING, "path": "/nowhere"}, 404),
        ({"headers": EXPECTING, "method": "PUT"}, 405),
        ({"headers": {**EXPECTING, "x": "y" * 9000}}, 431),
        ({"headers": {**EXPECTING, "content-length": "2000000"}}, 503),
        ({"headers": {**EXPECTING, "expect": "200-maybe"}}, 417),
        ({"headers": {**EXPECTING, "expect": "100-continue, 200-maybe"}}, 417),
    ],
)
async def test_what_the_head_decides_is_answered_at_once_and_ends_the_connection(
    client: Client, request_head: dict[str, object], status: int
) -> None:
    headers = request_head.pop("headers")
    assert isinstance(headers, dict)
    client.send_head({"content-length": "2", **headers}, **request_head)  # type: ignore[arg-type]  # method and path
    answer = await client.head()
    assert (answer.status, answer.headers["connection"]) == (status, "close")


async def test_without_a_body_there_is_nothing_to_wait_for(client: Client) -> None:
    client.send_head({**EXPECTING, "content-length": "0"})
    assert (await client.head()).status == 202


async def test_a_client_of_an_older_http_is_not_sent_what_it_cannot_know(client: Client) -> None:
    client.send_head({**EXPECTING, "content-length": "2"}, version="1.0")
    client.send(b"{}")
    assert (await client.head()).status == 202


async def test_the_gateway_asks_for_the_body_of_a_request_to_a_function(start: Start) -> None:
    gateway = Gateway(Ingress({}), {"echo.test": start(timeout=5)}, str)
    async with serving(gateway.handle) as url, connected(url) as client:
        headers = {"host": "echo.test.localhost", "content-length": "5", "expect": "100-continue"}
        client.send_head(headers, "PUT", "/echo")
        assert (await client.head()).line == CONTINUE
        client.send(b"hello")
        answer = await client.head()
        assert answer.status == 200
        received = await client.body(answer)
        assert b'"hello"' in received
        assert b"expect" not in received.lower()
