"""Errors as problem documents (RFC 9457), and what /openapi.json says of them.

A problem names every bad field and the fix. `instance` is the id of the request, which the audit log and the log of
the server have too. What a caller cannot mend (500) says nothing of our insides.
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from shared.errors import (
    AlreadyExists,
    AlreadyInProgress,
    AmbiguousName,
    EventTooLarge,
    Forbidden,
    MalformedEvent,
    NotFound,
    OperationRefused,
    RowUnreadable,
    SentinelError,
    StoreUnavailable,
    Unauthenticated,
    WrongState,
)
from shared.eventing.processing import advised_fields, bad_fields
from shared.identity.oidc import IssuerUnavailable
from shared.identity.passwords import PasswordsBusy
from shared.operations.identity.login import TooManyLogins

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2
MAX_BODY = 1024 * 1024
_MAX_FIELDS = 100
_MAX_TEXT = 2000

logger = logging.getLogger("sentinel.api")


class FieldProblem(BaseModel):
    """One field of a request, and what is wrong with it. field: dotted; "" for the request as a whole."""

    field: str
    message: str


class Problem(BaseModel):
    """A problem document. type: a relative URI that names the kind of problem and never changes."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldProblem] = []


class RequestRefused(SentinelError):
    """A request that HTTP itself, or the rules of this API, refuse. kind: a key of KINDS."""

    def __init__(self, kind: str, detail: str, *errors: tuple[str, str], headers: Mapping[str, str] | None = None):
        super().__init__(detail)
        self.kind, self.errors, self.headers = kind, errors, dict(headers or {})


@dataclass(frozen=True)
class Kind:
    """A kind of problem: its status and its title."""

    status: HTTPStatus
    title: str


KINDS: Mapping[str, Kind] = {
    "bad-request": Kind(HTTPStatus.BAD_REQUEST, "The request cannot be understood"),
    "unauthenticated": Kind(HTTPStatus.UNAUTHORIZED, "A valid token is needed"),
    "forbidden": Kind(HTTPStatus.FORBIDDEN, "No role permits this"),
    "not-found": Kind(HTTPStatus.NOT_FOUND, "There is no such thing, or it may not be seen"),
    "method-not-allowed": Kind(HTTPStatus.METHOD_NOT_ALLOWED, "The route does not take this method"),
    "conflict": Kind(HTTPStatus.CONFLICT, "The state of the object does not allow it now"),
    "precondition-failed": Kind(HTTPStatus.PRECONDITION_FAILED, "The object has changed since it was read"),
    "too-large": Kind(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large"),
    "unsupported-media-type": Kind(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body is of a type that is not taken"),
    "invalid": Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "A field is wrong"),
    "precondition-required": Kind(HTTPStatus.PRECONDITION_REQUIRED, "If-Match is needed"),
    "too-many-requests": Kind(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests"),
    "internal": Kind(HTTPStatus.INTERNAL_SERVER_ERROR, "A defect of the server"),
    "unavailable": Kind(HTTPStatus.SERVICE_UNAVAILABLE, "The database, or what else is needed, is away; ask again"),
}
"""Every kind of problem, by the last part of its `type`."""

_AGAIN = ("unavailable", "too-many-requests")
"""The caller may ask again after a while; see Retry-After."""

_BY_STATUS = {kind.status: name for name, kind in KINDS.items()}
_BY_ERROR: Mapping[type[SentinelError], str] = {
    MalformedEvent: "bad-request",
    Unauthenticated: "unauthenticated",
    Forbidden: "forbidden",
    NotFound: "not-found",
    AmbiguousName: "conflict",
    WrongState: "conflict",
    AlreadyExists: "conflict",
    AlreadyInProgress: "conflict",
    PasswordsBusy: "too-many-requests",
    TooManyLogins: "too-many-requests",
    EventTooLarge: "too-large",
    OperationRefused: "invalid",
    RowUnreadable: "conflict",
    StoreUnavailable: "unavailable",
    IssuerUnavailable: "unavailable",
}
"""The kind of problem that an error of the core is to a caller; of a class that is not here, its nearest base."""


def responses(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """What a route declares beside its own answer: these kinds of problems, and those that every route may give."""
    found: dict[int | str, dict[str, Any]] = {}
    for name in ("bad-request", "unauthenticated", "forbidden", "invalid", "internal", "unavailable", *kinds):
        kind = KINDS[name]
        found[int(kind.status)] = {"model": Problem, "description": kind.title}
    return found


def install(app: FastAPI) -> None:
    """Has an application answer every error with a problem document."""
    app.add_exception_handler(SentinelError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


def document(
    request: Request,
    name: str,
    detail: str,
    errors: Sequence[tuple[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer of one problem."""
    kind = KINDS[name]
    problem = Problem(
        type=f"/problems/{name}",
        title=kind.title,
        status=kind.status,
        detail=detail[:_MAX_TEXT],
        instance=str(request.scope.get("request_id", "")),
        errors=[FieldProblem(field=field, message=said[:_MAX_TEXT]) for field, said in errors[:_MAX_FIELDS]],
    )
    more = {"www-authenticate": "Bearer"} if name == "unauthenticated" else {}
    more |= {"retry-after": str(RETRY_AFTER_SECONDS)} if name in _AGAIN else {}
    body = json.dumps(problem.model_dump()).encode()
    return Response(body, kind.status, {**more, **(headers or {})}, MEDIA_TYPE)


def _refused(request: Request, error: Exception) -> Response:
    match error:
        case RequestRefused():
            return document(request, error.kind, str(error), error.errors, error.headers)
        case OperationRefused():
            return document(request, "invalid", str(error), error.errors)
        case TooManyLogins():
            after = {"retry-after": str(math.ceil(error.wait.total_seconds()))}
            return document(request, "too-many-requests", str(error), (), after)
    name = next((_BY_ERROR[known] for known in type(error).mro() if known in _BY_ERROR), None)
    return defect(request, error) if name is None else document(request, name, str(error))


def _invalid(request: Request, error: Exception) -> Response:
    if isinstance(error, ValidationError):
        errors = bad_fields(error)
    else:
        assert isinstance(error, RequestValidationError)
        errors = advised_fields([{**one, "loc": one["loc"][1:]} for one in error.errors()])  # the first says where
    detail = "; ".join(f"{field}: {said}" if field else said for field, said in errors)
    return document(request, "invalid", detail, errors)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    name = _BY_STATUS.get(HTTPStatus(error.status_code), "bad-request")
    detail = str(error.detail)
    if name == "not-found":
        detail = "there is no such route; /docs lists those that there are"
    elif name == "too-large":
        detail = f"the body may have at most {MAX_BODY} bytes"
    return document(request, name, detail, (), error.headers)


def defect(request: Request, error: Exception) -> Response:
    """A defect of ours goes to the log and not to the caller."""
    logger.error("%s %s failed", request.method, request.url.path, exc_info=(type(error), error, error.__traceback__))
    return document(request, "internal", "the server's log has the reason under this instance")
