"""Real subscribers, and a clock that tests advance."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from knative.local.broker.http_server import Handler, http_server

BOUND_SECONDS = 20.0


@dataclass(frozen=True)
class Received:
    """One request as it arrived; header names are lower-case."""

    headers: dict[str, str]
    body: bytes
    path: str

    @property
    def id(self) -> str:
        return self.headers["ce-id"]


class HangUp(Exception):
    """An answer that never comes: the connection breaks instead."""


Answer = Callable[[Received], Awaitable[web.StreamResponse] | web.StreamResponse]


def accepted(_: Received) -> web.Response:
    return web.Response(status=202)


def event(kind: str, number: str, body: bytes = b"{}", status: int = 200, **more: str) -> web.Response:
    """A reply in binary mode."""
    headers = {"ce-specversion": "1.0", "ce-id": number, "ce-source": "/subscriber", "ce-type": kind, **more}
    return web.Response(status=status, headers={**headers, "content-type": "application/json"}, body=body)


@dataclass
class Subscriber:
    """An HTTP server on loopback that answers as `answer` says and keeps what it received."""

    answer: Answer = accepted
    received: list[Received] = field(default_factory=list)
    url: str = ""
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = Received(headers, await request.read(), request.path_qs)
        self.received.append(received)
        async with self._changed:
            self._changed.notify_all()
        try:
            answer = self.answer(received)
            return answer if isinstance(answer, web.StreamResponse) else await answer
        except HangUp:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

    async def wait_for(self, condition: Callable[[list[Received]], bool]) -> None:
        """Until what was received satisfies the condition."""
        async with asyncio.timeout(BOUND_SECONDS), self._changed:
            await self._changed.wait_for(lambda: condition(self.received))

    async def wait_for_count(self, count: int) -> None:
        await self.wait_for(lambda received: len(received) >= count)


@asynccontextmanager
async def subscriber(answer: Answer = accepted) -> AsyncIterator[Subscriber]:
    """A running subscriber."""
    found = Subscriber(answer)
    async with serving(found.handle) as url:
        found.url = url + "/"
        yield found


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """The platform's HTTP server on loopback; its URL without a path."""
    runner = web.ServerRunner(http_server(handler), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def eventually(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Until the condition holds; for what offers no event to wait for."""
    async with asyncio.timeout(BOUND_SECONDS):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)


class _Timer:
    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class ManualClock:
    """Time stands still until `advance`."""

    def __init__(self, start: float = 1_000_000.0) -> None:
        self._now = start
        self._timers: list[_Timer] = []

    def now(self) -> float:
        return self._now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> _Timer:
        timer = _Timer(self._now + seconds, callback)
        self._timers.append(timer)
        return timer

    @property
    def waits(self) -> list[float]:
        """Seconds from now to each timer that is set, the nearest first."""
        return sorted(round(timer.due - self._now, 6) for timer in self._timers if not timer.cancelled)

    def advance(self, seconds: float) -> None:
        """Lets time pass, and calls what became due."""
        self._now += seconds
        due = [timer for timer in self._timers if timer.due <= self._now and not timer.cancelled]
        self._timers = [timer for timer in self._timers if timer.due > self._now and not timer.cancelled]
        for timer in sorted(due, key=lambda each: each.due):
            timer.callback()
