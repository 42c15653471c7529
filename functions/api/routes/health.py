"""Whether the process lives, whether it can serve, and what it has counted."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import PlainTextResponse

from functions.api.problems import responses
from functions.api.requests import router as new_router
from shared import metrics

router = new_router("health")

_SAMPLE = 'sentinel_api_requests_total{method="GET",status="200"} 7.0\n'
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
    responses={
        200: {"content": {"text/plain": {"example": 'sentinel_api_requests_total{method="GET",status="200"} 7'}}}
    },
)
async def read_metrics() -> Response:
    """The metrics of this process, for Prometheus."""
    body, content_type = metrics.exposition()
    return Response(body, 200, {"content-type": content_type})
