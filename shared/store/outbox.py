"""The outbox: events that committed with the state they speak of and that no HTTP reply carries."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.eventing.event import WireEvent
from shared.store.tables import outbox


@dataclass(frozen=True)
class Pending:
    """A row that was not published yet."""

    id: uuid.UUID
    event: WireEvent


def add(connection: sa.Connection, events: Sequence[WireEvent]) -> None:
    """Queues events for the relay."""
    if events:
        connection.execute(
            insert(outbox), [{"attributes": dict(event.attributes), "body": event.body} for event in events]
        )


def lock_pending(connection: sa.Connection, limit: int) -> list[Pending]:
    """The oldest unpublished events; other relays skip them until this transaction ends."""
    statement = (
        sa.select(outbox.c.id, outbox.c.attributes, outbox.c.body)
        .where(outbox.c.published_at.is_(None), outbox.c.refused.is_(None))
        .order_by(outbox.c.created_at, outbox.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [Pending(row.id, WireEvent(row.attributes, bytes(row.body))) for row in connection.execute(statement)]


def mark_published(connection: sa.Connection, ids: Sequence[uuid.UUID]) -> None:
    if ids:
        connection.execute(outbox.update().where(outbox.c.id.in_(ids)).values(published_at=sa.func.now()))


def mark_refused(connection: sa.Connection, row_id: uuid.UUID, reason: str) -> None:
    """The sink will never take this event: it stays, with the reason, and blocks nobody."""
    connection.execute(outbox.update().where(outbox.c.id == row_id).values(refused=reason))


def forget_published(connection: sa.Connection, days: int, limit: int) -> int:
    """Deletes at most `limit` rows published more than `days` ago."""
    old = sa.func.now() - sa.func.make_interval(0, 0, 0, days)
    rows = sa.select(outbox.c.id).where(outbox.c.published_at < old).limit(limit)
    return connection.execute(outbox.delete().where(outbox.c.id.in_(rows))).rowcount
