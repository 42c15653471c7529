"""Dead letters: store them, list them, redrive them, and drop those whose event was handled after all.

A broker may give up on an event that was handled: when no answer came in time, or when it could not store the reply.
The inbox of the event's consumer knows better.

A redrive sends the same event again, under its own id and source and with its own bytes. Consumers that handled it
answer what they answered before; those that gave up count from zero.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.errors import MalformedEvent, NotFound, WrongState
from shared.models.changes import changes
from shared.models.dead_letter import index_key
from shared.models.moments import rfc3339

if TYPE_CHECKING:
    from shared.models.actor import Actor
    from shared.models.dead_letter import DeadLetter
    from shared.models.page import Page, PageRequest
    from shared.store.inbox import Answered
    from shared.store.unit_of_work import UnitOfWork

RECENT = timedelta(hours=1)
"""An event is handled this long after its broker gave up on it at most: a request takes a minute."""


def handled(work: UnitOfWork, letter: DeadLetter) -> Answered | None:
    """What its consumer answered to this very event; None while the event was not handled."""
    answered = work.answer(letter.consumer, letter.source, letter.event_id)
    return answered if answered is not None and answered.digest == letter.digest else None


def drop_handled(work: UnitOfWork, actor: Actor) -> None:
    """Deletes the open dead letters of the last hour whose event was handled since: after its last answer was due."""
    for letter in work.dead_letters.drop_handled(RECENT):
        work.audit(
            "event.dead_letter_dropped",
            index_key(letter.subject or letter.source or "unknown"),
            actor,
            id=letter.event_id,
            type=letter.type,
            destination=letter.destination,
            reason="the event was handled",
            changes=changes(asdict(letter), None),
        )


def keep(work: UnitOfWork, letter: DeadLetter, actor: Actor) -> None:
    """Stores a dead letter; the same bytes to the same destination again only count up, and are open again."""
    deliveries = work.dead_letters.keep(letter)
    after = {"deliveries": deliveries, "error_code": letter.error_code, "reason": letter.reason}
    work.audit(
        "event.dead_lettered",
        index_key(letter.subject or letter.source or "unknown"),
        actor,
        id=letter.event_id,
        type=letter.type,
        destination=letter.destination,
        reason=letter.reason,
        changes=changes({"deliveries": deliveries - 1} if deliveries > 1 else None, after),
    )


def page(work: UnitOfWork, redriven: bool | None, request: PageRequest) -> Page[DeadLetter]:
    """A page of the dead letters, sorted by `createdAt`. redriven: those that were sent again or not; None for all."""
    return work.dead_letters.page(redriven, request)


def get(work: UnitOfWork, letter_id: uuid.UUID) -> DeadLetter:
    """One dead letter. Raises NotFound."""
    letter = work.dead_letters.get(letter_id)
    if letter is None:
        raise NotFound(f"there is no dead letter {letter_id}")
    return letter


def redrive(work: UnitOfWork, letter_id: uuid.UUID, decode: Callable[[DeadLetter], object], actor: Actor) -> DeadLetter:
    """Marks a dead letter as sent again, and returns it; the caller sends it.

    decode: reads the letter as a consumer would, and raises MalformedEvent. Raises NotFound, and WrongState for a
    letter that is malformed: it would only come back.
    """
    letter = get(work, letter_id)
    try:
        decode(letter)
    except MalformedEvent as error:
        raise WrongState(f"the event is malformed, and would only come back: {error}") from None
    work.reset_attempts(letter.source, letter.event_id)
    work.dead_letters.mark_redriven(letter)
    detail = {"id": letter.event_id, "type": letter.type, "destination": letter.destination}
    changed = changes({"redriven_at": rfc3339(letter.redriven_at)}, {"redriven_at": rfc3339(work.now)})
    work.audit("event.redriven", letter.subject or letter.source, actor, **detail, changes=changed)
    return letter
