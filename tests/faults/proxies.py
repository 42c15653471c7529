"""Proxies on loopback that stand between two processes and let their connection go wrong.

A proxy passes bytes on as they come, over TCP or Unix sockets. With TLS settings it ends TLS and begins it anew, so
that it can tell requests apart and answer them itself. One fault at a time applies, to open connections too:

| fault        | what the client sees                                                          |
|--------------|-------------------------------------------------------------------------------|
| Refuse       | nobody listens; open connections are reset                                    |
| Hang         | connections are accepted and nothing passes until the fault ends              |
| Cut          | a connection is reset after so many bytes of answers                          |
| LoseAnswer   | a request that matches reaches the server, and the connection is reset after  |
| AnswerWith   | a request that matches is answered by the proxy and does not reach the server |
| Slow         | every piece of an answer comes so many seconds late                           |
| DelayRequest | a request that matches reaches the server so late, if the client still waits  |

Requests are told apart by the first bytes that a client sends after an answer, which is enough for clients without
pipelining: urllib3, aiohttp, and pg8000 at a commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Address = tuple[str, int] | Path
_CHUNK = 65536
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: the connection is reset
WRITES = rb"\A(POST|PUT|PATCH|DELETE) "
COMMITS = rb"(?i)commit"
EVERYTHING = rb""


@dataclass(frozen=True)
class Refuse:
    pass


@dataclass(frozen=True)
class Hang:
    pass


@dataclass(frozen=True)
class Cut:
    after: int


@dataclass(frozen=True)
class LoseAnswer:
    """to: a regular expression, searched for in what the client sends."""

    to: bytes


@dataclass(frozen=True)
class AnswerWith:
    """status: with its reason, as in a status line. headers: further lines. to: as in LoseAnswer."""

    status: str
    headers: tuple[str, ...] = ()
    to: bytes = EVERYTHING


@dataclass(frozen=True)
class Slow:
    seconds: float


@dataclass(frozen=True)
class DelayRequest:
    """As an API server waits for an admission webhook: a client that leaves takes its request back.

    to: as in LoseAnswer.
    """

    seconds: float
    to: bytes = EVERYTHING


Fault = Refuse | Hang | Cut | LoseAnswer | AnswerWith | Slow | DelayRequest


@dataclass(frozen=True)
class Tls:
    """server: for clients of the proxy. client: for the server behind it."""

    server: ssl.SSLContext
    client: ssl.SSLContext


class Loop:
    """An event loop in a thread of its own, for proxies that tests use without one."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(30)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Proxy:
    """Listens at `address` for what `server` answers. `server` is asked at every connection: servers move.

    listen: a path, or None for any free port of 127.0.0.1. host: goes into the Host header of requests, if given.
    """

    def __init__(
        self,
        loop: Loop,
        server: Callable[[], Address],
        *,
        listen: Path | None = None,
        tls: Tls | None = None,
        host: str | None = None,
    ) -> None:
        self._loop, self._server, self._tls = loop, server, tls
        self._host = host.encode() if host else None
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server | None = None
        self._moving = asyncio.Event()
        self._moving.set()
        self.fault: Fault | None = None
        self.hits = 0
        """How many connections or requests the present fault has met."""
        self.address: Address = listen or ("127.0.0.1", _free_port())
        loop.run(self._listen())

    @property
    def url(self) -> str:
        assert not isinstance(self.address, Path)
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.address[1]}"

    def set(self, fault: Fault | None) -> None:
        """The fault from now on; None ends it."""
        self._loop.run(self._set(fault))

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        self.set(fault)
        try:
            yield
        finally:
            self.set(None)

    def close(self) -> None:
        self._loop.run(self._close())

    async def _set(self, fault: Fault | None) -> None:
        self.fault, self.hits = fault, 0
        if isinstance(fault, Hang):
            self._moving.clear()
        else:
            self._moving.set()
        if isinstance(fault, Refuse):
            self._stop_listening()
            self.hits += 1  # nobody can count who is refused
            for connection in tuple(self._connections):
                connection.reset()
        elif self._listening is None:
            await self._listen()

    async def _listen(self) -> None:
        tls = self._tls.server if self._tls else None
        match self.address:
            case Path() as path:
                path.unlink(missing_ok=True)
                self._listening = await asyncio.start_unix_server(self._serve, path, ssl=tls)
            case (host, port):
                self._listening = await asyncio.start_server(self._serve, host, port, ssl=tls, reuse_address=True)

    def _stop_listening(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    async def _close(self) -> None:
        self._stop_listening()
        self._moving.set()
        for connection in tuple(self._connections):
            connection.reset()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, ssl.SSLError):
                await self._pass_on(reader, writer)
        finally:
            _reset(writer)
            self._tasks.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._moving.wait()
        tls = self._tls.client if self._tls else None
        match self._server():
            case Path() as path:
                behind = await asyncio.open_unix_connection(path, ssl=tls)
            case (host, port):
                behind = await asyncio.open_connection(host, port, ssl=tls)
        connection = _Connection(self, (reader, writer), behind)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    async def moving(self) -> None:
        """Returns when nothing hangs."""
        if not self._moving.is_set():
            self.hits += 1
            await self._moving.wait()

    def request(self, sent: bytes) -> bytes:
        """What goes to the server of what a client sent."""
        if self._host is None:
            return sent
        assert not isinstance(self.address, Path)
        own = f"127.0.0.1:{self.address[1]}".encode()
        return sent.replace(b"Host: " + own, b"Host: " + self._host, 1).replace(
            b"host: " + own, b"host: " + self._host, 1
        )


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Connection:
    """One client and its connection to the server."""

    def __init__(self, proxy: Proxy, client: Stream, server: Stream) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._lost = False
        self._answered = 0

    async def run(self) -> None:
        pumps = [asyncio.create_task(self._requests()), asyncio.create_task(self._answers())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            done, _ = await asyncio.wait(pumps, timeout=0)
            if pumps[0] in done and pumps[1] not in done and not pumps[0].exception() and not self._lost:
                await asyncio.wait([pumps[1]], timeout=30)  # the client has said all, and waits for the rest
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self.reset()

    def reset(self) -> None:
        self._lost = True
        for _, writer in (self._client, self._server):
            _reset(writer)

    async def _requests(self) -> None:
        reader, writer = self._client[0], self._server[1]
        while sent := await reader.read(_CHUNK):
            await self._proxy.moving()
            match self._proxy.fault:
                case AnswerWith(to=pattern) as answer if re.search(pattern, sent):
                    self._proxy.hits += 1
                    await _rest_of_request(reader, sent)
                    lines = [f"HTTP/1.1 {answer.status}", *answer.headers, "Content-Length: 0", "Connection: close"]
                    self._client[1].write("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
                    await self._client[1].drain()
                    self._client[1].close()
                    return
                case LoseAnswer(to=pattern) if re.search(pattern, sent):
                    self._proxy.hits += 1
                    self._lost = True
                case DelayRequest(seconds, to=pattern) if re.search(pattern, sent):
                    self._proxy.hits += 1
                    await asyncio.sleep(seconds)
                    if reader.at_eof():
                        return
                case _:
                    pass
            writer.write(self._proxy.request(sent))
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def _answers(self) -> None:
        reader, writer = self._server[0], self._client[1]
        while received := await reader.read(_CHUNK):
            await self._proxy.moving()
            if self._lost:
                return
            match self._proxy.fault:
                case Slow(seconds):
                    self._proxy.hits += 1
                    await asyncio.sleep(seconds)
                case Cut(after):
                    self._answered += len(received)
                    if self._answered > after:
                        self._proxy.hits += 1
                        writer.write(received[: max(0, len(received) - (self._answered - after))])
                        await writer.drain()
                        return
                case _:
                    pass
            writer.write(received)
            await writer.drain()


async def _rest_of_request(reader: asyncio.StreamReader, sent: bytes) -> None:
    """Reads an HTTP request to its end, so that closing the connection does not take the answer away."""
    while b"\r\n\r\n" not in sent and (more := await reader.read(_CHUNK)):
        sent += more
    head, _, body = sent.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    missing = (int(length[1]) if length else 0) - len(body)
    while missing > 0 and (more := await reader.read(_CHUNK)):
        missing -= len(more)


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        if (found := writer.get_extra_info("socket")) is not None and found.family == socket.AF_INET:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port
