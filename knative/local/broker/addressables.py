"""Where deliveries go: one HTTP exchange with a subscriber, errors turned into values.

Knative calls what takes events by POST an Addressable. `HttpAddressable` is one that a manifest names by `uri`.
Services that run here are Addressables of their own (`services.LocalService`), because a request to one may have to
start it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

import aiohttp

from knative.local.broker.delivery import MAX_EVENT_BYTES, HttpAnswer, HttpResponse, NoResponse

_NO_HEADERS_OF_ITS_OWN = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
KEEP_ALIVE_SECONDS = 60.0
"""As the real broker's client (Vert.x): whoever closes an idle connection earlier fails a delivery there, and here."""

_MAX_HEADER_BYTES = 8 * 1024


class Addressable(Protocol):
    """A subscriber or a dead-letter sink."""

    @property
    def name(self) -> str:
        """As the log shows it."""
        ...

    @property
    def url(self) -> str:
        """As dead letters name it."""
        ...

    async def post(self, headers: Mapping[str, str], body: bytes | None, timeout: float) -> HttpAnswer:
        """One attempt, for at most `timeout` seconds. Never raises for what the network or the subscriber does."""
        ...


class HttpAddressable:
    """A subscriber at an absolute URL."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.name = self.url = url
        self._session = session

    async def post(self, headers: Mapping[str, str], body: bytes | None, timeout: float) -> HttpAnswer:
        try:
            async with asyncio.timeout(timeout):
                return await exchange(self._session, self.url, headers, body)
        except TimeoutError:
            return NoResponse(f"timeout after {timeout:g} s")


def new_session() -> aiohttp.ClientSession:
    """A client for many small requests to few hosts: keep-alive, no cookies, no limit of its own."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=_NO_HEADERS_OF_ITS_OWN,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
    )


async def exchange(
    session: aiohttp.ClientSession, url: str, headers: Mapping[str, str], body: bytes | None
) -> HttpAnswer:
    """Posts, and reads the whole answer. An answer that is too large for an event is read just far enough to know."""
    try:
        async with session.post(url, headers=headers, data=body, allow_redirects=False) as response:
            if sum(len(name) + len(value) for name, value in response.raw_headers) > _MAX_HEADER_BYTES:
                return NoResponse("the answer's headers are over 8 KiB")
            received = bytearray()
            async for chunk in response.content.iter_any():
                received += chunk
                if len(received) > 2 * MAX_EVENT_BYTES:
                    response.close()
                    break
            named = {name.lower(): value for name, value in response.headers.items()}
            return HttpResponse(response.status, named, bytes(received))
    except (aiohttp.ClientError, OSError) as error:
        return NoResponse(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
