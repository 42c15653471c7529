"""The audit log: who did what to what, and whether the log is whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import AwareDatetime, BaseModel, Field

from functions.api.paging import Listing, ListQuery, sorts
from functions.api.problems import RequestRefused, responses
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession, Services
from shared.models.audit import AuditFilter, AuditRow
from shared.models.identity import Permission
from shared.models.moments import rfc3339
from shared.operations import audit_export
from shared.operations.authorize import require

router = new_router("audit-logs")

SORTS = sorts(age=(int, datetime, int, int))
_JSON_LINES = "application/jsonl"
_MAX_TEXT = 512


class Verified(BaseModel):
    """Whether the log is whole. problems: what is wrong, chain by chain."""

    whole: bool
    problems: list[str] = Field(examples=[["shard 3: row 17 was changed"]])


@router.get("/audit-logs", response_model=Listing, responses=responses())
def list_audit_log(
    session: CurrentSession,
    page: Annotated[ListQuery, SORTS],
    object: Annotated[str | None, Query(max_length=_MAX_TEXT, description="What was acted on.")] = None,  # noqa: A002
    actor: Annotated[str | None, Query(max_length=_MAX_TEXT, examples=["user:ada"])] = None,
    action: Annotated[str | None, Query(max_length=_MAX_TEXT, examples=["plan.approved"])] = None,
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
) -> Response:
    """Rows by object, actor, action and time, newest first. An auditor of a team sees the rows of that team."""
    with session.read() as work:
        teams = session.teams(Permission.READ_AUDIT)
        wanted = AuditFilter(object, actor, action, teams, since=since, until=until)
        found = work.audit_log.page(wanted, replace(page.request, sort="time", descending=not page.request.descending))
    return page.answer(found, _as_json)


@router.get("/audit-logs/verify", response_model=Verified, responses=responses())
def verify_audit_log(session: CurrentSession) -> Response:
    """Checks every chain of hashes. A log that was cut at its end shows only against an earlier export."""
    with session.read() as work:
        require(session.principal, Permission.READ_AUDIT, None)
        problems = audit_export.verify(work)
    return JSONResponse({"whole": not problems, "problems": problems})


@router.get(
    "/audit-logs/export",
    response_class=StreamingResponse,
    responses=responses("conflict") | {200: {"content": {_JSON_LINES: {}}, "description": "A row a line"}},
)
def export_audit_log(request: Request, session: CurrentSession) -> Response:
    """Every row as a line of JSON, and in the last line the heads of the chains with an Ed25519 signature."""
    services: Services = request.app.state.services
    with session.read():
        require(session.principal, Permission.READ_AUDIT, None)
    key = services.audit_key
    if key is None:
        raise RequestRefused("conflict", "the server has no key to sign with; set AUDIT_SIGNING_KEY")

    def lines() -> Iterator[bytes]:
        with services.store.read() as work:
            for line in audit_export.export(work, key):
                yield json.dumps(line).encode() + b"\n"

    return StreamingResponse(lines(), media_type=_JSON_LINES)


def _as_json(row: AuditRow) -> dict[str, Any]:
    return {
        "id": f"{row.position.shard}-{row.position.sequence}",
        "time": rfc3339(row.position.recorded_at),
        "actor": row.actor,
        "action": row.action,
        "object": row.subject,
        "team": row.team,
        "detail": row.detail,
        "hash": row.hash.hex(),
    }
