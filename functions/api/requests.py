"""How a request is read, before a route sees it: its id, its size, its JSON, its query.

FastAPI takes the last of two equal parameters, ignores unknown ones, and reads JSON as Python does. Here these are a
caller's mistake: what was meant is not what would be done.
"""

from __future__ import annotations

import re
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from http import HTTPMethod, HTTPStatus
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import ParamTypes
from fastapi.routing import APIRoute
from pydantic import ConfigDict
from pydantic.warnings import UnsupportedFieldAttributeWarning
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from functions.api.problems import MAX_BODY, RequestRefused, defect, document
from shared import tracing
from shared.eventing import strict_json
from shared.eventing.endpoint import HEALTH_PATH
from shared.models.fields import Wire
from shared.tracing import Span, SpanKind

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# FastAPI hides this where it makes the validator of a body itself; our models put that off to the first request.
warnings.filterwarnings("ignore", category=UnsupportedFieldAttributeWarning)

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ID_HEADER = b"x-request-id"
_SECURITY = {
    b"x-content-type-options": b"nosniff",
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"strict-transport-security": b"max-age=31536000",  # browsers heed it over TLS alone
}
_DOCS_PATH = "/docs"
_DOCS_SECURITY = {
    b"content-security-policy": b"default-src 'none'; script-src 'self' 'unsafe-inline'; "
    b"style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
}
"""Swagger's page has a script of its own. Everything else comes from this host: the page shares it, and so a
login, with the console, and what another host serves could act for whoever is logged in.
"""


class Body(Wire):
    """Base of a request's body: camelCase, no unknown field. FastAPI needs its validator at once."""

    model_config = ConfigDict(defer_build=False)


class StrictRequest(Request):
    """A request whose JSON is read strictly: no equal keys, no NaN, no deep nesting, nothing that is not Unicode."""

    async def json(self) -> Any:
        try:
            return strict_json.parse(await self.body())
        except strict_json.InvalidJson as error:
            raise HTTPException(400, f"the body is not JSON: {error}") from None


class StrictRoute(APIRoute):
    """A route that refuses query parameters which it does not know, or that come twice."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        parameters = get_flat_params(self.dependant)
        known = {one.alias for one in parameters if getattr(one.field_info, "in_", None) is ParamTypes.query}

        async def strict(request: Request) -> Response:
            _check_query(request, known)
            return await handle(StrictRequest(request.scope, request.receive))

        return strict


def router(tag: str) -> APIRouter:
    """The router of one resource. tag: its heading in /docs."""
    return APIRouter(tags=[tag], route_class=StrictRoute)


class RequestFrame:
    """ASGI middleware: gives a request its id, ends one that is too large, and adds the headers of every answer.

    It also counts answers, and makes the thread pool as large as the pool of connections, so no thread waits for one.

    The id is the caller's X-Request-Id when that is 1 to 64 letters, digits, dots, underscores or dashes. What the
    request leads to belongs to the caller's trace, where it names one. prefix: of the routes' paths.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix
        self._sized = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not self._sized:  # the threads are of the event loop, which does not run before
            to_thread.current_default_thread_limiter().total_tokens = scope["app"].state.services.threads
            self._sized = True
        headers = dict(scope["headers"])
        given = headers.get(_ID_HEADER, b"").decode("latin-1")
        request_id = given if _ID.fullmatch(given) else str(uuid.uuid4())
        scope["request_id"] = request_id

        status = 0

        async def framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                names = {name.lower() for name, _ in message["headers"]}
                security = _SECURITY | (_DOCS_SECURITY if scope["path"] == _DOCS_PATH else {})
                more = [(name, value) for name, value in security.items() if name not in names]
                message["headers"] = [*message["headers"], *more, (_ID_HEADER, request_id.encode())]
            await send(message)

        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > MAX_BODY:  # what comes without a length is counted as it comes
            await document(Request(scope), "too-large", f"the body may have at most {MAX_BODY} bytes")(
                scope, receive, framed
            )
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return message

        try:
            with _within_trace(scope) as span:
                try:
                    await self._app(scope, counted, framed)
                finally:
                    _describe(span, scope, self._prefix, status)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - the last line of defence
            answer = defect(Request(scope), error)
            if not status:
                await answer(scope, receive, framed)


def _within_trace(scope: Scope) -> AbstractContextManager[Span]:
    """The span of a request. A probe has none: it comes every few seconds, and does nothing."""
    if scope["path"] == HEALTH_PATH:
        return tracing.NO_SPAN
    named = {"http.request.method": _method(scope), "url.path": scope["path"], "url.scheme": scope["scheme"]}
    return tracing.within(tracing.carried(Headers(scope=scope)), _method(scope), SpanKind.SERVER, named)


def _describe(span: Span, scope: Scope, prefix: str, status: int) -> None:
    """Says which route answered, and how. status: 0 when there was no answer."""
    if (found := scope.get("route")) is not None:
        # FastAPI says the path of a route within its router, which is below the prefix of all or of none.
        route = f"{prefix}{found.path}" if scope["path"].startswith(f"{prefix}/") else found.path
        span.rename(f"{_method(scope)} {route}")
        span.set({"http.route": route})
    if status:
        span.set({"http.response.status_code": status})
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        span.fail(str(status))


def _method(scope: Scope) -> str:
    """As OpenTelemetry wants it: what a caller invents is no name of a span."""
    return scope["method"] if scope["method"] in HTTPMethod.__members__ else "_OTHER"


def _check_query(request: Request, known: set[str]) -> None:
    given = request.query_params.multi_items()
    counts = Counter(name for name, _ in given)
    errors = [(name[:60], _unknown(known)) for name in counts if name not in known]
    errors += [(name[:60], "may be given once") for name, count in counts.items() if name in known and count > 1]
    errors += [
        (name[:60], "must not hold the character NUL") for name, value in given if name in known and "\0" in value
    ]
    if errors:
        detail = "; ".join(f"query parameter {name!r}: {said}" for name, said in errors)
        raise RequestRefused("bad-request", detail, *errors)


def _unknown(known: set[str]) -> str:
    return f"is unknown; there are {', '.join(sorted(known))}" if known else "is unknown; this route takes none"
