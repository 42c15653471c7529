"""Composes functions with their adapters. This is the only place where adapters meet handlers.

Nothing is connected at import: the engine opens its first connection with the first event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from events import CATALOGUE
from shared import tracing
from shared.errors import EventError
from shared.eventing.endpoint import FrameworkTarget, Grouped, Process, ProcessTogether, endpoint
from shared.eventing.function import ClusterFunction, TransactionalFunction
from shared.eventing.processing import EventRequest, HttpAnswer, Processor, problem
from shared.eventing.publishing import HttpPublisher, PublisherAfterCommit
from shared.observability import configure_logging
from shared.settings import SINK_TOKEN, FunctionSettings
from shared.store.database import connect
from shared.store.unit_of_work import Store
from shared.store.wire import SessionLimits

if TYPE_CHECKING:
    from shared.identity.callers import CallerCheck

LOCK_TIMEOUT = timedelta(seconds=10)
"""A function that hangs in a transaction must not hang the others: they answer 503, and the broker delivers again."""

PUBLISH_TIMEOUT_SECONDS = 1.0
"""An ingress answers within 10 ms; what takes this long is left to the relay, whose timeout is longer."""


@dataclass(frozen=True)
class Ports:
    """What a function may be built from: its settings, and one store that all its parts share."""

    settings: FunctionSettings

    @cached_property
    def store(self) -> Store:
        """The store on one engine. It has no overflow, so pools times replicas stay below max_connections."""
        settings = self.settings
        limits = SessionLimits(LOCK_TIMEOUT, settings.statement_timeout, settings.idle_in_transaction_timeout)
        return Store(connect(settings.database_url, pool_size=settings.pool_size, max_overflow=0, limits=limits))

    def publish_after_commit(self) -> PublisherAfterCommit | None:
        """Sends the outbox to K_SINK; None where the function is not bound to a sink and the relay sends it."""
        if not self.settings.sink:
            return None
        return PublisherAfterCommit(self.store, self.publisher(timeout=PUBLISH_TIMEOUT_SECONDS))

    def publisher(self, *, timeout: float = 5.0) -> HttpPublisher:
        """Sends events to K_SINK; see HttpPublisher. Raises ConfigurationError."""
        sink, authorities = self.settings.required_sink(), self.settings.sink_authorities
        return HttpPublisher(sink, token=SINK_TOKEN, authorities=authorities, timeout=timeout)


def ports() -> Ports:
    """What this process's environment says; what is built from it may log. Raises ConfigurationError."""
    configure_logging()
    settings = FunctionSettings.from_environment()
    if settings.traced:
        tracing.start(settings.service)
    return Ports(settings)


def event_target(
    build: Callable[[Ports], TransactionalFunction[Any] | ClusterFunction[Any, Any, Any]],
) -> FrameworkTarget:
    """The target of a function that handles events from the catalogue. Raises ConfigurationError."""
    found = ports()
    function = build(found)
    processor = Processor(function, found.store, CATALOGUE, f"/sentinel/{function.name}", found.publish_after_commit())
    check = _caller_check(found.settings, HTTPStatus.UNAUTHORIZED)
    grouped = None
    if function.group_commit is not None:
        together = partial(processor.process_together, group_commit=function.group_commit)
        grouped = Grouped(function.group_commit.types, _together_for_callers(together, check))
    process = _for_callers(processor.process, check)
    return _as_target(endpoint(process, threads=found.settings.threads, grouped=grouped))


def request_target(build: Callable[[Ports], Callable[[dict[str, str], bytes], HttpAnswer]]) -> FrameworkTarget:
    """The target of a function that takes requests as they come, before they are events. Raises ConfigurationError.

    A caller that is refused is told to come back: nobody would keep what it brings.
    """
    found = ports()
    process = _for_callers(build(found), _caller_check(found.settings, HTTPStatus.SERVICE_UNAVAILABLE))
    return _as_target(endpoint(process, threads=found.settings.pool_size))


def _caller_check(settings: FunctionSettings, refusal: HTTPStatus) -> CallerCheck | None:
    """Raises EventError for who may not call the function. Where nobody checks that, nothing is imported for it."""
    if settings.callers is None:
        return None
    from shared.identity.callers import CallerCheck
    from shared.identity.https import fetcher

    known = settings.callers
    return CallerCheck(known, fetcher(known.certificate_authority, token=known.token), refusal)


def _for_callers(process: Process, check: CallerCheck | None) -> Process:
    """The same, for those who may call the function."""
    if check is None:
        return process

    def checked(headers: dict[str, str], body: bytes) -> HttpAnswer:
        try:
            check(headers)
        except EventError as refused:
            return problem(refused)
        return process(headers, body)

    return checked


def _together_for_callers(process: ProcessTogether, check: CallerCheck | None) -> ProcessTogether:
    """The same, for those who may call the function; the others are refused one by one."""
    if check is None:
        return process

    def checked(requests: Sequence[EventRequest]) -> list[HttpAnswer]:
        refused: dict[int, HttpAnswer] = {}
        for number, (headers, _) in enumerate(requests):
            try:
                check(headers)
            except EventError as error:
                refused[number] = problem(error)
        answers = iter(process([one for number, one in enumerate(requests) if number not in refused]))
        return [refused[number] if number in refused else next(answers) for number in range(len(requests))]

    return checked


def _as_target(respond: FrameworkTarget) -> FrameworkTarget:
    """Registers an endpoint with functions-framework under the name `handle`, with the http signature."""

    async def handle(request: Request) -> Response:
        return await respond(request)

    functions_framework.aio.http(handle)  # registers the name; the target stays our own coroutine
    return handle
