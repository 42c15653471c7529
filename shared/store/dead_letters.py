"""Dead letters: events that a broker gave up on, with their original bytes and the reason."""

import hashlib
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.models.dead_letter import DeadLetter
from shared.models.page import Page, PageRequest
from shared.store import pages
from shared.store.tables import dead_letters

SORTS = {"createdAt": (dead_letters.c.created_at, dead_letters.c.id)}


@dataclass(frozen=True)
class DroppedLetter:
    """What is left to say of a letter that was deleted."""

    source: str
    event_id: str
    type: str
    subject: str | None
    destination: str


@dataclass(frozen=True)
class DeadLetterRows:
    """Dead letters, inside one transaction."""

    connection: sa.Connection

    def keep(self, letter: DeadLetter) -> int:
        """Stores a letter; the same bytes to the same destination again only count up, and are open again.

        Returns how often it was delivered.
        """
        statement = insert(dead_letters).values(
            destination=letter.destination,
            source=letter.source,
            event_id=letter.event_id,
            type=letter.type,
            subject=letter.subject,
            attributes=dict(letter.attributes),
            body=letter.body,
            body_hash=hashlib.sha256(letter.body).digest(),
            error_code=letter.error_code,
            reason=letter.reason,
            consumer=letter.consumer,
            digest=letter.digest,
        )
        again = {
            "deliveries": dead_letters.c.deliveries + 1,
            "reason": letter.reason,
            "error_code": letter.error_code,
            "redriven_at": None,
            "consumer": letter.consumer,
            "digest": letter.digest,
            "updated_at": sa.func.now(),
        }
        upsert = statement.on_conflict_do_update(
            index_elements=["destination", "source", "event_id", "body_hash"], set_=again
        )
        return int(self.connection.execute(upsert.returning(dead_letters.c.deliveries)).scalar_one())

    def find(self, *, include_redriven: bool = False, limit: int = 1000) -> list[DeadLetter]:
        """Oldest first."""
        statement = sa.select(dead_letters).order_by(dead_letters.c.created_at, dead_letters.c.id).limit(limit)
        if not include_redriven:
            statement = statement.where(dead_letters.c.redriven_at.is_(None))
        return [_letter(row) for row in self.connection.execute(statement)]

    def page(self, redriven: bool | None, request: PageRequest) -> Page[DeadLetter]:
        """A page of the letters: those that were sent again, those that were not, or all."""
        statement = sa.select(dead_letters)
        if redriven is not None:
            at = dead_letters.c.redriven_at
            statement = statement.where(at.is_not(None) if redriven else at.is_(None))
        return pages.fetch(self.connection, statement, SORTS, request, _letter)

    def get(self, letter_id: uuid.UUID) -> DeadLetter | None:
        row = self.connection.execute(sa.select(dead_letters).where(dead_letters.c.id == letter_id)).one_or_none()
        return None if row is None else _letter(row)

    def of_event(self, source: str, event_id: str) -> list[DeadLetter]:
        """The open letters of one event, one a destination that it could not be delivered to; oldest first."""
        statement = (
            sa.select(dead_letters)
            .where(
                dead_letters.c.source == source,
                dead_letters.c.event_id == event_id,
                dead_letters.c.redriven_at.is_(None),
            )
            .order_by(dead_letters.c.created_at, dead_letters.c.id)
        )
        return [_letter(row) for row in self.connection.execute(statement)]

    def of_events(self, subject: str, event_ids: Collection[str]) -> list[DeadLetter]:
        """The letters of these events about one subject, redriven or not, oldest first."""
        columns = dead_letters.c
        statement = sa.select(dead_letters).where(columns.subject == subject, columns.event_id.in_(event_ids))
        rows = self.connection.execute(statement.order_by(columns.created_at, columns.id))
        return [_letter(row) for row in rows]

    def drop_handled(self, recent: timedelta) -> list[DroppedLetter]:
        """Deletes open letters of the `recent` past whose event its consumer has handled."""
        return [DroppedLetter(**row) for row in self.connection.execute(_DROP_HANDLED, {"recent": recent}).mappings()]

    def mark_redriven(self, letter: DeadLetter) -> None:
        """A stored letter is no longer open: its event was sent again."""
        self.connection.execute(
            dead_letters.update()
            .where(dead_letters.c.id == letter.id)
            .values(redriven_at=sa.func.now(), updated_at=sa.func.now())
        )


_DROP_HANDLED = sa.text("""
    DELETE FROM dead_letters AS letter USING inbox
     WHERE letter.redriven_at IS NULL AND letter.updated_at > now() - CAST(:recent AS interval)
       AND inbox.consumer = letter.consumer AND inbox.source = letter.source AND inbox.event_id = letter.event_id
       AND inbox.digest = letter.digest AND inbox.handled_at IS NOT NULL
    RETURNING letter.source, letter.event_id, letter.type, letter.subject, letter.destination
""")


def _letter(row: sa.Row[tuple[object, ...]]) -> DeadLetter:
    return DeadLetter(
        destination=row.destination,
        source=row.source,
        event_id=row.event_id,
        type=row.type,
        subject=row.subject,
        attributes=row.attributes,
        body=bytes(row.body),
        error_code=row.error_code,
        reason=row.reason,
        id=row.id,
        deliveries=row.deliveries,
        created_at=row.created_at,
        redriven_at=row.redriven_at,
    )
