"""GPUs that workloads have been given and do not use."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from functions.api.problems import RequestRefused, responses
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession
from shared.models import durations
from shared.models.fields import DnsLabel
from shared.models.identity import Permission
from shared.models.idle import DEFAULT_IDLE_RULES, LONGEST_WINDOW, SHORTEST_WINDOW, IdleRules
from shared.operations import idle as operations

router = new_router("gpus")


class IdleGpus(BaseModel):
    """GPUs that are allocated and not used, the dearest first. Money is in US dollars, as text.

    gpus: how many there are; usdPerHour, usd: of all of them, now and over the window.
    """

    window: str = Field(examples=["PT6H"])
    threshold_percent: float = Field(alias="thresholdPercent", examples=[5.0])
    until: str
    items: list[dict[str, Any]]
    gpus: int = Field(examples=[0])
    usd_per_hour: str = Field(alias="usdPerHour", examples=["0.000000"])
    usd: str = Field(examples=["0.000000"])


@router.get("/gpus/idle", response_model=IdleGpus, responses=responses())
def list_idle_gpus(
    session: CurrentSession,
    team: DnsLabel | None = None,
    window: Annotated[str, Query(max_length=40, description="A duration.", examples=["6h"])] = "6h",
    threshold: Annotated[float, Query(ge=0, le=100, description="Percent.")] = DEFAULT_IDLE_RULES.threshold_percent,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
) -> Response:
    """GPUs that a workload of the teams that you may read has had all the window, and used at most by `threshold`."""
    rules = IdleRules(_window(window), threshold)
    with session.read() as work:
        teams = session.teams(Permission.READ_WORKLOADS, team)
        if team is not None:
            teams = frozenset({team}) if teams is None else teams & {team}
        found = operations.report(work, rules, teams, limit)
    return JSONResponse(found.as_json())


def _window(text: str) -> timedelta:
    try:
        found = durations.parse(text)
    except ValueError as error:
        raise RequestRefused("invalid", f"window: {error}", ("window", str(error))) from None
    if not SHORTEST_WINDOW <= found <= LONGEST_WINDOW:
        said = f"must be from {SHORTEST_WINDOW.seconds // 60}m to {LONGEST_WINDOW.days}d"
        raise RequestRefused("invalid", f"window: {said}", ("window", said))
    return found
