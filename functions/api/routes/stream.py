"""Server-sent events (HTML standard, section 9.2): what happens to the workloads that the caller may see.

The rows of the audit log about workloads are sent in the order in which they became visible. The id of an event is its
place in that order, so a client that comes back with `Last-Event-ID` misses nothing and sees nothing twice. Each look
resolves the token anew: a stream ends when its token expires, its user is disabled or the token is revoked. While the
database is away the stream waits.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated

import anyio
from fastapi import Header, Query
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from functions.api.problems import RequestRefused, responses
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession, Session
from shared.errors import Forbidden, StoreUnavailable, Unauthenticated
from shared.models.audit import AuditFilter, AuditPosition, AuditRow
from shared.models.fields import DnsLabel
from shared.models.identity import Permission
from shared.models.moments import rfc3339

router = new_router("events")

MAX_STREAMS = 50
"""Of one process."""
LOOK_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
"""Proxies close what is silent, usually after a minute."""
PAGE = 100
_ID = re.compile(r"(\d{1,18})-(\d{1,18})-(\d{1,4})-(\d{1,18})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TYPE = "text/event-stream"

_places = threading.BoundedSemaphore(MAX_STREAMS)


class EventStream(StreamingResponse):
    """A stream that holds one of the places until it is over, also when its client has gone before it began."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            _places.release()


@router.get(
    "/events/stream",
    response_class=StreamingResponse,
    responses=responses("too-many-requests")
    | {
        200: {
            "content": {_TYPE: {"example": "id: 812-1764406800000000-3-17\nevent: plan.approved\ndata: {...}\n\n"}},
            "description": "Events, without an end",
        }
    },
)
async def stream_events(
    session: CurrentSession,
    team: Annotated[DnsLabel | None, Query(description="Only this team's workloads.")] = None,
    last_event_id: Annotated[str | None, Header(description="Go on after this event.", max_length=100)] = None,
) -> StreamingResponse:
    """What happens to workloads from now on, or after `Last-Event-ID`."""
    after = None if last_event_id is None else _position(last_event_id)
    if not _places.acquire(blocking=False):
        raise RequestRefused("too-many-requests", f"{MAX_STREAMS} streams are open; close one, or come back later")
    try:
        if after is None:
            after = await run_in_threadpool(_newest, session, team)
        else:
            await run_in_threadpool(_look, session, team, after)
    except BaseException:
        _places.release()
        raise
    return EventStream(_events(session, team, after), media_type=_TYPE)


async def _events(session: Session, team: str | None, after: AuditPosition | None) -> AsyncIterator[str]:
    yield ": here is a stream\n\n"
    said_at = time.monotonic()
    while True:
        try:
            rows = await run_in_threadpool(_look, session, team, after)
        except StoreUnavailable:
            rows = []
        except (Unauthenticated, Forbidden) as error:
            yield f"event: end\ndata: {json.dumps({'reason': str(error)})}\n\n"
            return
        for row in rows:
            after = row.position
            yield _event(row)
        now = time.monotonic()
        if rows:
            said_at = now
        elif now - said_at >= HEARTBEAT_SECONDS:
            said_at = now
            yield ": still here\n\n"
        if len(rows) < PAGE:
            await anyio.sleep(LOOK_SECONDS)


def _newest(session: Session, team: str | None) -> AuditPosition | None:
    with session.read() as work:
        _teams(session, team)
        return work.audit_log.last_position()


def _look(session: Session, team: str | None, after: AuditPosition | None) -> list[AuditRow]:
    with session.read() as work:
        wanted = AuditFilter(teams=_teams(session, team), workloads=True)
        return work.audit_log.following(wanted, after, PAGE)


def _teams(session: Session, team: str | None) -> frozenset[str] | None:
    """The teams whose events are sent; None for all. A team that may not be seen has none. Raises Forbidden."""
    teams = session.teams(Permission.READ_WORKLOADS, team)
    if team is None:
        return teams
    return frozenset({team}) if teams is None or team in teams else frozenset()


def _event(row: AuditRow) -> str:
    data = {
        "time": rfc3339(row.position.recorded_at),
        "what": row.action,
        "workload": row.subject,
        "team": row.team,
        "actor": row.actor,
        "detail": row.detail,
    }
    return f"id: {_id(row.position)}\nevent: {row.action}\ndata: {json.dumps(data)}\n\n"


def _id(position: AuditPosition) -> str:
    microseconds = (position.recorded_at - _EPOCH) // timedelta(microseconds=1)
    return f"{position.transaction}-{microseconds}-{position.shard}-{position.sequence}"


def _position(text: str) -> AuditPosition:
    found = _ID.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        transaction, microseconds, shard, sequence = map(int, found.groups())
        return AuditPosition(transaction, _EPOCH + timedelta(microseconds=microseconds), shard, sequence)
    except (ValueError, OverflowError):
        said = "is not the id of an event of this stream"
        raise RequestRefused("bad-request", f"Last-Event-ID: {said}", ("Last-Event-ID", said)) from None
