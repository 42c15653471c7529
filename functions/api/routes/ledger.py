"""What workloads hold and cost, and which plans wait for room."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import datetime
from typing import Annotated

from fastapi import Response

from functions.api.paging import Listing, ListQuery, sorts
from functions.api.problems import responses
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession, Session
from shared.models.fields import DnsLabel
from shared.models.identity import Permission
from shared.models.reservation import LineFilter, ReservationLine, ReservationState, UsageLine
from shared.operations import ledger as operations
from shared.operations import workloads
from shared.operations.workloads import QueuedPlan

router = new_router("ledger")

_QUEUE_SORTS = sorts(position=(int, int, datetime, uuid.UUID))
_RESERVATION_SORTS = sorts(workload=(uuid.UUID, str, str), team=(str, uuid.UUID, str, str))
_USAGE_SORTS = sorts(team=(str, str, str))


@router.get("/queue", response_model=Listing, responses=responses())
def list_queue(
    session: CurrentSession, page: Annotated[ListQuery, _QUEUE_SORTS], team: DnsLabel | None = None
) -> Response:
    """The plans that wait for quota or capacity, first goes first; those of the teams that you may read.

    `position` counts the plans that the list shows, from its first page on.
    """
    with session.read() as work:
        found = workloads.queue_page(work, _visible(session, LineFilter(team)), page.request)
    return page.answer(found, QueuedPlan.as_json)


@router.get("/reservations", response_model=Listing, responses=responses())
def list_reservations(
    session: CurrentSession,
    page: Annotated[ListQuery, _RESERVATION_SORTS],
    team: DnsLabel | None = None,
    cluster: DnsLabel | None = None,
    workload: uuid.UUID | None = None,
    state: ReservationState | None = None,
) -> Response:
    """What workloads hold, a line for each cluster and GPU SKU. CPU is in millicores, memory in bytes."""
    with session.read() as work:
        wanted = _visible(session, LineFilter(team, cluster, workload, state=state))
        found = operations.reservations(work, wanted, page.request)
    return page.answer(found, ReservationLine.as_json)


@router.get("/usage", response_model=Listing, responses=responses())
def list_usage(
    session: CurrentSession,
    page: Annotated[ListQuery, _USAGE_SORTS],
    team: DnsLabel | None = None,
    cluster: DnsLabel | None = None,
) -> Response:
    """What teams hold by cluster and GPU SKU, and what that has cost this calendar month."""
    with session.read() as work:
        found = operations.usage(work, _visible(session, LineFilter(team, cluster)), page.request)
    return page.answer(found, UsageLine.as_json)


def _visible(session: Session, wanted: LineFilter) -> LineFilter:
    """Of the teams whose workloads the caller may read. Raises Forbidden for a caller who may read none."""
    teams = session.teams(Permission.READ_WORKLOADS, wanted.team)
    return replace(wanted, teams=teams)
