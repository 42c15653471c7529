"""Dead letters: events that a broker gave up on. They may be of any team, so a role for all teams is needed."""

from __future__ import annotations

import base64
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from fastapi import Response
from fastapi.responses import JSONResponse

from functions.api.idempotency import IDEMPOTENCY, IdempotencyKey
from functions.api.paging import Listing, ListQuery, sorts
from functions.api.problems import responses
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession
from shared.errors import MalformedEvent
from shared.eventing import codec
from shared.eventing.event import Envelope, WireEvent
from shared.models.dead_letter import DeadLetter
from shared.models.identity import Permission
from shared.operations import dead_letters as operations
from shared.operations.authorize import require

if TYPE_CHECKING:
    from pydantic import JsonValue

router = new_router("events")

_SORTS = sorts(createdAt=(datetime, uuid.UUID))


@router.get("/events/dead-letters", response_model=Listing, responses=responses())
def list_dead_letters(
    session: CurrentSession, page: Annotated[ListQuery, _SORTS], redriven: bool | None = False
) -> Response:
    """Dead letters, oldest first. redriven: those that were sent again, instead of those that were not."""
    with session.read() as work:
        require(session.principal, Permission.READ_DEAD_LETTERS, None)
        found = operations.page(work, redriven, page.request)
    return page.answer(found, DeadLetter.as_json)


@router.get("/events/dead-letters/{letter_id}", responses=responses("not-found"))
def read_dead_letter(letter_id: uuid.UUID, session: CurrentSession) -> Response:
    """One dead letter with its event: the attributes, and the data as JSON or in base64."""
    with session.read() as work:
        require(session.principal, Permission.READ_DEAD_LETTERS, None)
        letter = operations.get(work, letter_id)
    return JSONResponse({**letter.as_json(), "event": {**letter.attributes, **_data(letter)}})


@router.post(
    "/events/dead-letters/{letter_id}/redrive",
    status_code=202,
    responses=responses("not-found", "conflict", *IDEMPOTENCY),
)
def redrive_dead_letter(letter_id: uuid.UUID, session: CurrentSession, key: IdempotencyKey) -> Response:
    """Sends the same event again, under its own id; consumers that gave up on it count their attempts from zero."""
    with session.begin() as work:
        require(session.principal, Permission.REDRIVE_DEAD_LETTERS, None)
        if (earlier := key.earlier(work, session.principal)) is not None:
            return earlier
        sent = operations.redrive(work, letter_id, _envelope, session.principal.actor)
        session.send(work, [WireEvent(sent.attributes, sent.body)])
        letter = operations.get(work, letter_id)
        location = {"location": f"/api/v1/events/dead-letters/{letter_id}"}
        return key.keep(work, JSONResponse(letter.as_json(), 202, location))


def _envelope(letter: DeadLetter) -> Envelope:
    return codec.envelope(letter.attributes, letter.body)


def _data(letter: DeadLetter) -> dict[str, JsonValue]:
    """The data member of the structured format: JSON where it is JSON, base64 otherwise."""
    try:
        data = _envelope(letter).data
    except MalformedEvent:
        data = None
    if data is not None:
        return {"data": data}
    return {"data_base64": base64.b64encode(letter.body).decode()} if letter.body else {}
