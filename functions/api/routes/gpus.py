"""GPUs as they are used now, and those that workloads have been given and do not use."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from functions.api.paging import Listing, ListQuery, sorts
from functions.api.problems import RequestRefused, responses
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession
from shared.models import durations
from shared.models.fields import DnsLabel, DnsSubdomain
from shared.models.gpu_status import GpuStatus
from shared.models.identity import Permission
from shared.models.idle import DEFAULT_IDLE_RULES, LONGEST_WINDOW, SHORTEST_WINDOW, IdleRules
from shared.operations import gpus
from shared.operations import idle as operations
from shared.operations.authorize import require

router = new_router("gpus")

_SORTS = sorts(name=(str, str, str))


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


@router.get("/gpus", response_model=Listing, responses=responses())
def list_gpus(
    session: CurrentSession,
    page: Annotated[ListQuery, _SORTS],
    cluster: DnsLabel | None = None,
    node: DnsSubdomain | None = None,
) -> Response:
    """The GPUs that agents report on, by cluster, node and UUID, with how much they are used, as of `observedAt`.

    Workloads of teams that you may not read are not named.
    """
    with session.read() as work:
        require(session.principal, Permission.READ_CLUSTERS, None)
        teams = session.principal.teams(Permission.READ_WORKLOADS)
        found = gpus.page(work, cluster, node, teams, page.request)
    return page.answer(found, GpuStatus.as_json)


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
