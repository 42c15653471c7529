"""Whether the process lives, whether it can serve, and the metrics of the store."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import PlainTextResponse

from functions.api.problems import responses
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession
from shared.models.identity import Permission
from shared.operations.authorize import require

router = new_router("health")

_SAMPLE = 'sentinel_workloads{phase="healthy",team="search"} 7.0\n'
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_TEXT = {"text/plain": {"example": "ok\n"}}


@router.get("/healthz", response_class=PlainTextResponse, responses={200: {"content": _TEXT}})
async def healthz() -> Response:
    """The process lives."""
    return PlainTextResponse("ok\n")


@router.get(
    "/readyz",
    response_class=PlainTextResponse,
    responses={200: {"content": _TEXT}, 503: responses()[503]},
)
def readyz(request: Request) -> Response:
    """The database answers, and has every migration of this release."""
    request.app.state.services.store.check_schema()
    return PlainTextResponse("ok\n")


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses=responses() | {200: {"content": {"text/plain": {"example": _SAMPLE}}}},
)
def read_metrics(request: Request, session: CurrentSession) -> Response:
    """The metrics of the store, for Prometheus, as of a few seconds ago. They name all teams: so a role for all."""
    page = request.app.state.services.metrics
    with session.read() as work:
        require(session.principal, Permission.READ_WORKLOADS, None)
        body = page.read(work)
    return Response(body, 200, {"content-type": CONTENT_TYPE})
