"""What teams, workloads, SKUs and clusters have cost."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

from fastapi import Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from functions.api.problems import RequestRefused, responses
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession
from shared.models import durations
from shared.models.cost import CostDimension
from shared.models.identity import Permission
from shared.operations import cost as operations
from shared.operations.authorize import require

router = new_router("cost")

DEFAULT_LIMIT = 1_000
MAX_LIMIT = 10_000
_LONGEST = timedelta(days=400)
_DAY = re.compile(r"[0-9]{4}-", re.ASCII)


class Cost(BaseModel):
    """Costs in US dollars, as text, the dearest first. groups: how many lines there are; total: of all of them."""

    by: CostDimension
    since: datetime
    until: datetime
    items: list[dict[str, Any]]
    total: dict[str, Any]
    groups: int = Field(examples=[3])


@router.get("/cost", response_model=Cost, responses=responses())
def read_cost(
    session: CurrentSession,
    by: CostDimension = CostDimension.TEAM,
    since: Annotated[
        str | None, Query(max_length=40, description="A duration or a day.", examples=["30d", "2026-11-01"])
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT,
) -> Response:
    """Allocated and used GPU hours, cost, idle cost, and the forecast of the month beside its ceiling.

    From the beginning of the day of `since` in UTC; without it, of this calendar month. Of the teams that you may read.
    """
    with session.read() as work:
        teams = session.principal.teams(Permission.READ_WORKLOADS)
        if teams is not None and not teams:
            require(session.principal, Permission.READ_WORKLOADS, None)
        found = operations.report(work, by, _start(since, work.now), teams, limit)
    return JSONResponse(found.as_json())


def _start(since: str | None, now: datetime) -> datetime:
    if since is None:
        return now.astimezone(UTC).replace(day=1)
    start: datetime | None = None
    with suppress(ValueError, OverflowError):
        start = (
            datetime.combine(date.fromisoformat(since), time(), UTC)
            if _DAY.match(since)
            else now - durations.parse(since)
        )
    if start is None or not now - _LONGEST <= start <= now:
        said = f"must be a duration such as 30d, or a day such as 2026-11-01, within the last {_LONGEST.days} days"
        raise RequestRefused("invalid", f"since: {said}", ("since", said))
    return start
