"""The inbox: one row for each (consumer, source, id), with the attempts at it and, once handled, its reply.

The attempt is counted before the handling in a transaction of its own, or a failing handler would roll
the count back. It commits without waiting for the disk: a count lost with the machine
costs one more attempt, not correctness.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from shared.eventing.event import Envelope, Queued, WireEvent
from shared.eventing.function import Claim
from shared.store import outbox
from shared.store.tables import inbox

_COUNT = sa.text("""
    INSERT INTO inbox (consumer, source, event_id, digest, attempts)
    SELECT :consumer, :source, :event_id, :digest, 1
      FROM (SELECT set_config('synchronous_commit', 'off', true) AS was) AS relaxed WHERE relaxed.was IS NOT NULL
    ON CONFLICT (consumer, source, event_id) DO UPDATE
       SET attempts = CASE WHEN inbox.digest = excluded.digest THEN inbox.attempts + 1 ELSE 1 END,
           digest = excluded.digest, updated_at = now()
     WHERE inbox.handled_at IS NULL
    RETURNING attempts, now()
""")

# Lost with the machine, it costs one of many attempts: nobody waits for the disk.
_UNCOUNT = sa.text("""
    UPDATE inbox SET attempts = attempts - 1
      FROM (SELECT set_config('synchronous_commit', 'off', true) AS was) AS relaxed
     WHERE relaxed.was IS NOT NULL AND attempts > 0 AND handled_at IS NULL
       AND consumer = :consumer AND source = :source AND event_id = :event_id AND digest = :digest
""")

_FINISH = sa.text(f"""
    WITH finished AS (
        UPDATE inbox SET handled_at = now(), updated_at = now(),
               reply_attributes = CAST(:reply_attributes AS jsonb), reply_body = :reply_body
         WHERE consumer = :consumer AND source = :source AND event_id = :event_id AND handled_at IS NULL
           AND digest = :digest
        RETURNING 1
    ), queued AS ({outbox.INSERT} WHERE EXISTS (SELECT FROM finished))
    SELECT count(*) FROM finished
""").bindparams(sa.bindparam("reply_body", type_=sa.LargeBinary))  # noqa: S608 - both parts are constants

# By its place, because the key is three texts long; what another relay deletes is skipped.
_FORGET = sa.text("""
    DELETE FROM inbox WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM inbox WHERE updated_at < now() - CAST(:age AS interval)
         ORDER BY updated_at LIMIT :most FOR UPDATE SKIP LOCKED))
""")


@dataclass(frozen=True)
class Answered:
    """An event was handled, with this reply or with none. digest: of what the event said (Envelope.digest)."""

    reply: WireEvent | None
    digest: bytes


def claim(connection: sa.Connection, consumer: str, event: Envelope) -> Claim:
    """Counts an attempt at an event that was not handled yet. Each statement on `connection` commits by itself.

    An id belongs to the first event that is handled: one that failed, with other data, gives its row up. Or anybody who
    guesses an id could keep its event from being handled.
    """
    key = {"consumer": consumer, "source": event.source, "event_id": event.id}
    counted = connection.execute(_COUNT, {**key, "digest": event.digest}).one_or_none()
    if counted is not None:
        return Claim(handled=False, same_data=True, attempts=counted[0], now=counted[1])
    stored = connection.execute(sa.select(inbox, sa.func.now().label("now")).where(_is(key))).mappings().one()
    return Claim(
        handled=stored["handled_at"] is not None,
        same_data=bytes(stored["digest"]) == event.digest,
        attempts=stored["attempts"],
        now=stored["now"],
        reply=_reply(stored),
    )


def uncount(connection: sa.Connection, consumer: str, event: Envelope) -> None:
    """Takes back one attempt at an event that was not handled."""
    key = {"consumer": consumer, "source": event.source, "event_id": event.id}
    connection.execute(_UNCOUNT, {**key, "digest": event.digest})


def answer(connection: sa.Connection, consumer: str, source: str, event_id: str) -> Answered | None:
    """What a consumer said to an event; None as long as it was not handled."""
    key = {"consumer": consumer, "source": source, "event_id": event_id}
    statement = sa.select(inbox).where(_is(key), inbox.c.handled_at.is_not(None))
    stored = connection.execute(statement).mappings().one_or_none()
    return None if stored is None else Answered(_reply(stored), bytes(stored["digest"]))


def finish(
    connection: sa.Connection, consumer: str, event: Envelope, reply: WireEvent | None, others: Sequence[Queued]
) -> bool:
    """Marks the event handled and queues the other events.

    False, and nothing done, if another delivery was faster, or another event took the id over.
    """
    values = {
        "consumer": consumer,
        "source": event.source,
        "event_id": event.id,
        "digest": event.digest,
        "reply_attributes": json.dumps(dict(reply.attributes)) if reply else None,
        "reply_body": reply.body if reply else None,
        "events": outbox.as_parameter(others),
    }
    return bool(connection.execute(_FINISH, values).scalar_one())


def reset_attempts(connection: sa.Connection, source: str, event_id: str) -> None:
    """Gives an event that failed too often a fresh start: what a redrive does, for every consumer."""
    connection.execute(
        inbox.update()
        .where(inbox.c.source == source, inbox.c.event_id == event_id, inbox.c.handled_at.is_(None))
        .values(attempts=0)
    )


def forget_old(connection: sa.Connection, age: timedelta, limit: int) -> int:
    """Deletes at most `limit` rows that nothing happened to for so long, oldest first; returns how many.

    Rows of events that failed too often go too: their bytes are a dead letter.
    """
    return connection.execute(_FORGET, {"age": age, "most": limit}).rowcount


def _is(key: Mapping[str, str]) -> sa.ColumnElement[bool]:
    return sa.and_(*(inbox.c[name] == value for name, value in key.items()))


def _reply(stored: Mapping[Any, Any]) -> WireEvent | None:
    if stored["reply_attributes"] is None:
        return None
    return WireEvent(stored["reply_attributes"], bytes(stored["reply_body"]))
