"""One port, told apart by host name."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from knative.local.broker.ingress import Ingress
from knative.local.serving.gateway import Gateway
from knative.local.serving.services import LocalService
from tests.knative.serving.test_services import Start, start
from tests.support.subscribers import serving

__all__ = ["start"]  # the fixture


@pytest.fixture
def service(start: Start) -> LocalService:
    return start(timeout=5)


@pytest.fixture
async def url(service: LocalService) -> AsyncIterator[str]:
    gateway = Gateway(Ingress({}), {"echo.test": service}, lambda: "index\n")
    async with serving(gateway.handle) as found:
        yield found


def host(name: str) -> dict[str, str]:
    return {"host": name}


@pytest.mark.parametrize(
    "name", ["echo.test.localhost", "echo.test.localhost:8080", "ECHO.Test.localhost", "echo.test.localhost."]
)
async def test_a_function_by_its_host_name(
    session: aiohttp.ClientSession, url: str, service: LocalService, name: str
) -> None:
    async with session.get(url + "/pid", headers=host(name)) as response:
        assert response.status == 200
        assert response.headers["content-type"] == "application/json"
        assert json.loads(await response.read()) == service.pid


@pytest.mark.parametrize("name", ["other.test.localhost", "echo.localhost", "echo.other.localhost"])
async def test_an_unknown_host_gets_the_list_of_services(session: aiohttp.ClientSession, url: str, name: str) -> None:
    async with session.get(url + "/", headers=host(name)) as response:
        assert response.status == 404
        assert "echo.test.localhost" in await response.text()


async def test_method_path_query_headers_and_body_pass_through(session: aiohttp.ClientSession, url: str) -> None:
    headers = {**host("echo.test.localhost"), "x-a": "b", "content-type": "text/x"}
    async with session.put(url + "/echo?a=%20b", headers=headers, data=b"hello") as response:
        received = json.loads(await response.read())
    assert (received["method"], received["path"], received["body"]) == ("PUT", "/echo?a=%20b", "hello")
    assert received["headers"]["x-a"] == "b"
    assert received["headers"]["content-type"] == "text/x"
    assert received["headers"]["host"] == "echo.test.localhost"


async def test_a_client_that_asks_as_a_proxy_reaches_the_function_that_it_names(
    session: aiohttp.ClientSession, url: str
) -> None:
    async with session.get("http://echo.test.localhost/echo?a=1", proxy=url) as response:
        assert json.loads(await response.read())["path"] == "/echo?a=1"


@pytest.mark.parametrize("breaks", [False, True])
async def test_an_answer_arrives_as_it_comes_and_ends_as_the_function_ends_it(
    session: aiohttp.ClientSession, start: Start, tmp_path: Path, breaks: bool
) -> None:
    hold = tmp_path / "hold"
    gateway = Gateway(Ingress({}), {"echo.test": start(timeout=20, HOLD=str(hold))}, str)
    async with serving(gateway.handle) as url, asyncio.timeout(20):
        path = "/stream?break" if breaks else "/stream"
        async with session.get(url + path, headers=host("echo.test.localhost")) as response:
            assert await response.content.readline() == b"first\n"
            hold.touch()
            if breaks:
                with pytest.raises(aiohttp.ClientError):
                    await response.read()
            else:
                assert await response.read() == b"last\n"


async def test_a_reply_event_is_seen_by_the_caller(session: aiohttp.ClientSession, url: str) -> None:
    event = {"ce-id": "1", "ce-type": "k", "ce-source": "/s", "ce-specversion": "1.0", "prefer": "reply"}
    async with session.post(url + "/", headers={**host("echo.test.localhost"), **event}) as response:
        assert response.status == 200
        assert response.headers["ce-type"] == "k.replied"


async def test_redirects_are_the_caller_s_business(session: aiohttp.ClientSession, url: str) -> None:
    async with session.get(url + "/redirect", headers=host("echo.test.localhost"), allow_redirects=False) as response:
        assert (response.status, response.headers["location"]) == (302, "http://elsewhere.test/")


async def test_a_function_that_dies_is_502(session: aiohttp.ClientSession, url: str) -> None:
    async with session.get(url + "/exit", headers=host("echo.test.localhost")) as response:
        assert response.status == 502
        assert "echo broke off" in await response.text()


async def test_a_large_body_is_passed_on_and_a_huge_one_refused(session: aiohttp.ClientSession, url: str) -> None:
    headers = host("echo.test.localhost")
    async with session.post(url + "/", headers=headers, data=io.BytesIO(b"x" * 2_000_000)) as response:
        assert response.status == 200
    async with session.post(url + "/", headers=headers, data=io.BytesIO(b"x" * 9_000_000)) as response:
        assert response.status == 413


async def test_a_function_that_takes_too_long_is_504(session: aiohttp.ClientSession, start: Start) -> None:
    gateway = Gateway(Ingress({}), {"echo.test": start(timeout=0.1, START_SECONDS="5")}, str)
    async with (
        serving(gateway.handle) as slow,
        session.get(slow + "/", headers=host("echo.test.localhost")) as response,
    ):
        assert response.status == 504


@pytest.mark.parametrize("body", [gzip.compress(b"hello"), b"this is not gzip"], ids=["gzip", "no gzip"])
async def test_a_body_that_says_it_is_compressed_passes_as_it_is(
    session: aiohttp.ClientSession, url: str, body: bytes
) -> None:
    headers = {**host("echo.test.localhost"), "content-encoding": "gzip"}
    async with session.post(url + "/echo", headers=headers, data=io.BytesIO(body)) as response:
        received = json.loads(await response.read())
    assert received["headers"]["content-encoding"] == "gzip"
    assert received["body"].encode("latin-1") == body


@pytest.mark.parametrize(
    "request_line",
    [b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", b"POST http://x:y/ HTTP/1.1\r\nHost: x\r\n\r\n"],
)
async def test_what_is_no_http_is_400_and_one_line_of_the_log(request_line: bytes, lines: io.StringIO) -> None:
    async with serving(Gateway(Ingress({}), {}, str).handle) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(request_line)
        answer = await reader.read()
        writer.close()
    assert answer.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
    [line] = lines.getvalue().splitlines()
    assert "! a request that is not HTTP was refused: " in line


async def test_a_defect_of_ours_is_500_and_logged_in_full(lines: io.StringIO) -> None:
    async def defect(_: web.BaseRequest) -> web.StreamResponse:
        raise LookupError("lost")

    async with serving(defect) as url, aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 500
        assert "lost" not in await response.text()
    assert "LookupError: lost" in lines.getvalue()
