"""The HTTP shells of functions: `async def` targets for functions-framework.

The body is streamed under a cap. The handler blocks on the database, so it runs in an executor of its own, which is as
large as the connection pool, or larger where handlers wait for clusters. Where a function commits groups, the requests
that wait hold no thread. Every path reaches the target, so health is a branch.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from shared.errors import EventTooLarge, MalformedEvent
from shared.eventing.groups import Groups
from shared.eventing.processing import EventRequest, HttpAnswer, problem

MAX_BODY = 1024 * 1024
HEALTH_PATH = "/healthz"

logger = logging.getLogger("sentinel.endpoint")
FrameworkTarget = Callable[[Request], Awaitable[Response]]
Process = Callable[[dict[str, str], bytes], HttpAnswer]
"""(lower-case headers, body) -> answer."""
ProcessTogether = Callable[[Sequence[EventRequest]], Sequence[HttpAnswer]]
"""Many requests -> the answer to each, in their order."""


@dataclass(frozen=True)
class Grouped:
    """How requests are answered many at once. types: of their events, by the header `ce-type`.

    There are so many of these events that the log has a line of each at the level debug alone, unless it is refused.
    """

    types: Collection[str]
    process: ProcessTogether


def endpoint(process: Process, *, threads: int, grouped: Grouped | None = None) -> FrameworkTarget:
    """A functions-framework http target that answers each POSTed event with what `process` returns.

    process: called in one of `threads` threads. grouped: for requests that come while others are handled.
    """
    executor = ThreadPoolExecutor(threads, thread_name_prefix="handler")

    groups = None if grouped is None else _groups(process, grouped, executor)

    def is_grouped(headers: Mapping[str, str]) -> bool:
        return grouped is not None and headers.get("ce-type") in grouped.types

    async def answer_to(headers: dict[str, str], body: bytes) -> HttpAnswer:
        if groups is not None and is_grouped(headers):
            return await groups.handle((headers, body))
        return await asyncio.get_running_loop().run_in_executor(executor, process, headers, body)

    def respond(answer: HttpAnswer, headers: Mapping[str, str], started: float) -> Response:
        usual = logging.DEBUG if is_grouped(headers) else logging.INFO
        _log(usual if answer.status < HTTPStatus.BAD_REQUEST else logging.WARNING, answer, headers, started)
        return Response(answer.body, answer.status, dict(answer.headers))

    async def handle(request: Request) -> Response:
        if request.url.path == HEALTH_PATH:
            return Response(status_code=HTTPStatus.OK)
        if request.method != "POST":
            return Response("POST a CloudEvent here\n", HTTPStatus.METHOD_NOT_ALLOWED, {"allow": "POST"})
        started = time.perf_counter()
        headers = _headers(request)
        try:
            body = await _body(request)
        except (EventTooLarge, MalformedEvent) as error:
            return respond(problem(error), headers, started)
        try:
            answer = await answer_to(headers, body)
        except Exception:  # the last line of defence: a defect of ours goes to the log and not to the caller
            logger.exception("%s %s failed", headers.get("ce-type", "event"), headers.get("ce-id", ""))
            return Response("internal error\n", HTTPStatus.INTERNAL_SERVER_ERROR)
        return respond(answer, headers, started)

    return handle


def _groups(process: Process, grouped: Grouped, executor: Executor) -> Groups[EventRequest, HttpAnswer]:
    """A group has at most as many bytes as one event may have."""
    return Groups(executor, lambda one: process(*one), grouped.process, size=lambda one: len(one[1]), most=MAX_BODY)


def _headers(request: Request) -> dict[str, str]:
    """The first value of each; Starlette's own mapping searches all of them for each that it is asked for."""
    found: dict[str, str] = {}
    for name, value in request.headers.raw:
        found.setdefault(name.decode("latin-1"), value.decode("latin-1"))
    return found


async def _body(request: Request) -> bytes:
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size >= MAX_BODY:
                raise EventTooLarge(f"the body must be smaller than {MAX_BODY} bytes")
            chunks.append(chunk)
    except ClientDisconnect:
        raise MalformedEvent("the request ended before its body did") from None
    return b"".join(chunks)


def _log(level: int, answer: HttpAnswer, headers: Mapping[str, str], started: float) -> None:
    logger.log(
        level,
        "%s %s %s %s %.1f ms%s",
        headers.get("ce-type", "-"),
        headers.get("ce-subject", "-"),
        answer.status,
        answer.outcome,
        (time.perf_counter() - started) * 1000,
        f" trace {answer.trace_id}" if answer.trace_id else "",
        extra={"fields": {"trace_id": answer.trace_id}} if answer.trace_id else None,
    )
