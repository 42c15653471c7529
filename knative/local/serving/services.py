"""A Knative Service as one process on demand.

The platform holds the listening socket for as long as it lives and passes it on, so a request to a function that is not
running waits in the socket's backlog and is never refused, and no port is raced for. As in Knative:

- at most `containerConcurrency` requests are with the process; the others queue in front of it (queue-proxy);
- `timeoutSeconds` after it was sent, a request is answered 504;
- without a request for the length of the `window` annotation, the process is stopped (scale to zero);
- a process that dies takes its requests with it: they fail as network errors, and the next request starts another, at
  once if it had answered anything, else after a growing pause.

Unlike Knative there is one process a Service: min-scale and max-scale are not reproduced.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from knative.local.broker.addressables import exchange, new_session
from knative.local.broker.delivery import HttpAnswer, HttpResponse, NoResponse
from knative.local.serving.output import log_output
from knative.local.serving.process import Process

_log = logging.getLogger(__name__)
_BACKLOG = 1024
_STOP_GRACE_SECONDS = 10.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 10.0


@dataclass(frozen=True)
class LocalServiceSpec:
    """What the platform needs to run one Service. `concurrency` 0 means no limit; times in seconds."""

    name: str
    namespace: str
    command: Sequence[str]
    env: Mapping[str, str]
    concurrency: int
    timeout: float
    window: float


@dataclass
class _Running:
    process: Process
    session: aiohttp.ClientSession
    answered: bool = False
    stopping: bool = False


class LocalService:
    """One Service: a target of deliveries and of the gateway."""

    def __init__(self, spec: LocalServiceSpec) -> None:
        self.spec = spec
        self.name = spec.name
        self.url = f"http://{spec.name}.{spec.namespace}.svc.cluster.local/"
        self._host = f"{spec.name}.{spec.namespace}.svc.cluster.local"
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._gate = asyncio.Semaphore(spec.concurrency) if spec.concurrency else None
        self._starting = asyncio.Lock()
        self._running: _Running | None = None
        self._watchers: set[asyncio.Task[None]] = set()
        self._requests = 0
        self._idle: asyncio.TimerHandle | None = None
        self._failed_starts = 0
        self._not_before = 0.0

    @property
    def pid(self) -> int | None:
        """The process, if one is running."""
        return self._running.process.pid if self._running else None

    async def post(self, headers: Mapping[str, str], body: bytes | None, timeout: float) -> HttpAnswer:
        """A delivery. `timeout` counts from when the process gets it, not from when it queues: where Knative would add
        replicas, one process takes its time, and a delivery that never reached it must not use up its retries."""
        try:
            async with self.lease() as session:
                answer = await self._exchange(session, headers, body, timeout)
                self.answered(answer)
                return answer
        except OSError as error:
            return NoResponse(f"cannot start: {error}")

    async def _exchange(
        self, session: aiohttp.ClientSession, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> HttpAnswer:
        try:
            async with asyncio.timeout(min(timeout, self.spec.timeout)):
                return await exchange(session, f"{self.address}/", {**headers, "host": self._host}, body)
        except TimeoutError:
            if timeout < self.spec.timeout:
                return NoResponse(f"timeout after {timeout:g} s")
            return HttpResponse(504, {}, b"request timeout")

    @contextlib.asynccontextmanager
    async def lease(self) -> AsyncIterator[aiohttp.ClientSession]:
        """A place at the running process, which is started if need be. Raises OSError if that is not possible."""
        self._requests += 1
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        try:
            async with self._gate or contextlib.nullcontext():
                yield (await self._ensure()).session
        finally:
            self._requests -= 1
            if self._requests == 0:
                self._idle = asyncio.get_running_loop().call_later(self.spec.window, self._scale_to_zero)

    def answered(self, answer: HttpAnswer) -> None:
        """Records that the process answered, so that it is not taken for one that dies while it starts."""
        if isinstance(answer, HttpResponse) and self._running is not None:
            self._running.answered = True

    async def configure(self, env: Mapping[str, str]) -> None:
        """From the next start on, the process has this environment; a running one is stopped."""
        self.spec = replace(self.spec, env=env)
        if self._running is not None:
            self._running.stopping = True
            await self._running.process.stop(_STOP_GRACE_SECONDS)

    async def stop(self) -> None:
        """Stops the process and closes the socket."""
        if self._idle is not None:
            self._idle.cancel()
        if self._running is not None:
            self._running.stopping = True
            await self._running.process.stop(_STOP_GRACE_SECONDS)
        if self._watchers:
            await asyncio.wait(self._watchers)
        self._socket.close()

    async def _ensure(self) -> _Running:
        running = self._running
        if running is not None and not running.stopping and not running.process.exited.done():
            return running
        async with self._starting:
            if self._running is not None and self._running.stopping:
                await asyncio.shield(self._running.process.exited)
            await self._gone()
            if self._running is None:
                await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))
                self._running = self._start()
            return self._running

    def _start(self) -> _Running:
        process = Process(self.spec.command, self.spec.env, self._socket, lambda line: log_output(self.name, line))
        _log.debug("%s is started as process %d", self.name, process.pid)
        running = _Running(process, new_session())
        self._spawn(self._watch(running))
        return running

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)

    async def _gone(self) -> None:
        """Lets the watcher of a process that has just exited finish first."""
        while self._running is not None and self._running.process.exited.done():
            await asyncio.sleep(0)

    async def _watch(self, running: _Running) -> None:
        status = await asyncio.shield(running.process.exited)
        self._running = None
        if running.stopping:
            _log.debug("%s is stopped", self.name)
        else:
            self._count_exit(running, status)
        # Requests that wait in the backlog for a process that never took them fail here, as the others have failed.
        await running.session.close()

    def _count_exit(self, running: _Running, status: int) -> None:
        self._failed_starts = 0 if running.answered else self._failed_starts + 1
        pause = min(_FIRST_PAUSE_SECONDS * 2.0 ** (self._failed_starts - 1), _LONGEST_PAUSE_SECONDS)
        self._not_before = time.monotonic() + (pause if self._failed_starts else 0.0)
        how = f"signal {-status}" if status < 0 else f"code {status}"
        _log.warning("%s exited by itself (%s); the next request starts it again", self.name, how)

    def _scale_to_zero(self) -> None:
        self._idle = None
        running = self._running
        if running is not None and not running.stopping:
            running.stopping = True
            self._spawn(running.process.stop(_STOP_GRACE_SECONDS))
