"""The outbox: events that committed with the state they speak of and that no HTTP reply carries."""

import base64
import json
import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from shared.eventing.event import Queued, WireEvent
from shared.store.tables import outbox

INSERT = """
    INSERT INTO outbox (id, attributes, body)
    SELECT CAST(event ->> 'id' AS uuid), event -> 'attributes', decode(event ->> 'body', 'base64')
      FROM jsonb_array_elements(CAST(:events AS jsonb)) AS event
"""
"""Adds rows; `events` is what `as_parameter` makes."""

_INSERT = sa.text(INSERT)
# A mark that is lost with the machine costs one more delivery under the same id, so nobody waits for the disk.
_PUBLISHED = sa.text("""
    UPDATE outbox SET published_at = now(), updated_at = now()
      FROM (SELECT set_config('synchronous_commit', 'off', true) AS was) AS relaxed
     WHERE relaxed.was IS NOT NULL AND outbox.id = ANY(:ids)
""").bindparams(sa.bindparam("ids", type_=ARRAY(sa.Uuid)))
_POSTPONED = sa.text("""
    UPDATE outbox SET attempts = attempts + 1, updated_at = now(),
           next_attempt_at = clock_timestamp() + least(power(2, least(attempts, 10)), 10) * interval '1 second'
     WHERE id = ANY(:ids)
""").bindparams(sa.bindparam("ids", type_=ARRAY(sa.Uuid)))


def queued(events: Sequence[WireEvent]) -> list[Queued]:
    """Events with ids for their rows. Rows of one transaction have one `created_at`, so their ids keep the order."""
    first = uuid.uuid4().int & ~0xFFFF
    return [Queued(uuid.UUID(int=first | position), event) for position, event in enumerate(events)]


def as_parameter(rows: Sequence[Queued]) -> str:
    """Rows as the parameter of `INSERT`."""
    return json.dumps(
        [
            {
                "id": str(row.id),
                "attributes": dict(row.event.attributes),
                "body": base64.b64encode(row.event.body).decode(),
            }
            for row in rows
        ]
    )


def add(connection: sa.Connection, events: Sequence[WireEvent]) -> list[Queued]:
    """Queues events for whoever publishes first: the caller, after its commit, or the relay."""
    rows = queued(events)
    if rows:
        connection.execute(_INSERT, {"events": as_parameter(rows)})
    return rows


def lock_pending(connection: sa.Connection, limit: int) -> list[Queued]:
    """The oldest unpublished events that are due; other relays skip them until this transaction ends."""
    due = sa.or_(outbox.c.next_attempt_at.is_(None), outbox.c.next_attempt_at <= sa.func.now())
    statement = (
        sa.select(outbox.c.id, outbox.c.attributes, outbox.c.body)
        .where(outbox.c.published_at.is_(None), outbox.c.refused.is_(None), due)
        .order_by(outbox.c.created_at, outbox.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [Queued(row.id, WireEvent(row.attributes, bytes(row.body))) for row in connection.execute(statement)]


def mark_published(connection: sa.Connection, ids: Sequence[uuid.UUID]) -> None:
    """The sink has these events."""
    if ids:
        connection.execute(_PUBLISHED, {"ids": list(ids)})


def postpone(connection: sa.Connection, ids: Sequence[uuid.UUID]) -> None:
    """The sink did not take these events: each waits 1 s, 2 s, and so on up to 10 s, and holds up no other."""
    if ids:
        connection.execute(_POSTPONED, {"ids": list(ids)})


def mark_refused(connection: sa.Connection, row_id: uuid.UUID, reason: str) -> None:
    """The sink will never take this event: it stays, with the reason, and blocks nobody."""
    connection.execute(outbox.update().where(outbox.c.id == row_id).values(refused=reason))
