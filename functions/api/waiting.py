"""`?wait=healthy&timeout=60s`: the answer to a write comes when the workload has settled, or the time is over.

200 means that it is what was waited for. 202 means that it is not, or not yet: the resource says how it stands. A
request that waits holds neither a thread nor a connection: it looks at the workload now and then.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from fastapi import Depends, Query, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.types import Message, Receive, Scope, Send

from functions.api.problems import RequestRefused
from shared.errors import SentinelError, StoreUnavailable
from shared.models.fields import Duration

LONGEST = timedelta(minutes=4)
"""Knative gives up a request that has no answer after 5 minutes."""
USUAL = timedelta(seconds=60)
LOOK_SECONDS = 0.5


class Goal(StrEnum):
    """What is waited for."""

    HEALTHY = "healthy"


@dataclass(frozen=True)
class PollResult:
    """How a workload stands. settled: whether waiting longer changes nothing."""

    answer: Response
    settled: bool


@dataclass(frozen=True)
class Wait:
    """What a request asks. goal: None for an answer at once."""

    goal: Goal | None = None
    timeout: timedelta = USUAL

    @property
    def wanted(self) -> bool:
        return self.goal is not None

    def answer(self, first: Response, poll: Callable[[], PollResult]) -> Response:
        """The answer, which waits by itself. first: what is said at once. poll: reads how the workload stands."""
        return _WaitingResponse(first, poll, self.timeout / timedelta(seconds=1)) if self.wanted else first


NO_WAIT = Wait()


class _WaitingResponse(Response):
    """Looks until the workload has settled, the time is over, or nobody listens any more."""

    def __init__(self, first: Response, poll: Callable[[], PollResult], seconds: float) -> None:
        super().__init__(first.body, first.status_code, dict(first.headers))
        self._first, self._poll, self._seconds = first, poll, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(receive())  # the body was read, so what comes next is the end of the connection
        try:
            answer = await self._settled(gone)
        finally:
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone
        if answer is not None:
            await answer(scope, receive, send)

    async def _settled(self, gone: "asyncio.Future[Message]") -> Response | None:
        loop, newest = asyncio.get_running_loop(), self._first
        end = loop.time() + self._seconds
        while (left := end - loop.time()) > 0:
            await asyncio.wait({gone}, timeout=min(LOOK_SECONDS, left))
            if gone.done():
                return None
            try:
                result = await run_in_threadpool(self._poll)
            except StoreUnavailable:
                continue
            except SentinelError:  # whoever asks may not see it any more
                break
            newest = result.answer
            if result.settled:
                break
        return newest


def _read(
    wait: Annotated[
        Goal | None, Query(description="Answer when the workload is healthy (200), or when that is not to be (202).")
    ] = None,
    timeout: Annotated[
        Annotated[Duration, Field(gt=timedelta(0), le=LONGEST)] | None,
        Query(description="How long to wait at most: 60s unless given, at most 4m.", examples=["60s"]),
    ] = None,
) -> Wait:
    if wait is None and timeout is not None:
        said = "is for wait=healthy alone"
        raise RequestRefused("invalid", f"timeout {said}", ("timeout", said))
    return Wait(wait, timeout or USUAL)


WaitQuery = Annotated[Wait, Depends(_read)]
