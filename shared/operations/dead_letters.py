"""Dead letters: store them, list them, redrive them, and drop those whose event was handled after all.

A broker may give up on an event that was handled: when no answer came in time, or when it could not store the reply.
The inbox of the event's consumer knows better.

A redrive sends the same event again, under its own id and source and with its own bytes. Consumers that handled it
answer what they answered before; those that gave up count from zero.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.errors import MalformedEvent, NotFound
from shared.models.dead_letter import index_key

if TYPE_CHECKING:
    from shared.models.actor import Actor
    from shared.models.dead_letter import DeadLetter
    from shared.models.page import Page, PageRequest
    from shared.store.inbox import Answered
    from shared.store.unit_of_work import UnitOfWork

REDRIVE_LIMIT = 10_000
"""How many dead letters one redrive takes."""

RECENT = timedelta(hours=1)
"""An event is handled this long after its broker gave up on it at most: a request takes a minute."""


@dataclass(frozen=True)
class DeadLetterPage:
    """The oldest dead letters. more: there are others."""

    letters: list[DeadLetter]
    more: bool


@dataclass(frozen=True)
class Redrive:
    """letters: to be sent again. malformed: those that stay, each with the reason. more: others may be open."""

    letters: list[DeadLetter]
    malformed: list[tuple[DeadLetter, str]]
    more: bool


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
        )


def keep(work: UnitOfWork, letter: DeadLetter, actor: Actor) -> None:
    """Stores a dead letter; the same bytes to the same destination again only count up, and are open again."""
    work.dead_letters.keep(letter)
    work.audit(
        "event.dead_lettered",
        index_key(letter.subject or letter.source or "unknown"),
        actor,
        id=letter.event_id,
        type=letter.type,
        destination=letter.destination,
        reason=letter.reason,
    )


def list_letters(work: UnitOfWork, limit: int, *, include_redriven: bool = False) -> DeadLetterPage:
    """At most `limit` dead letters, oldest first; those that were sent again only on demand."""
    found = work.dead_letters.find(include_redriven=include_redriven, limit=limit + 1)
    return DeadLetterPage(found[:limit], len(found) > limit)


def page(work: UnitOfWork, redriven: bool | None, request: PageRequest) -> Page[DeadLetter]:
    """A page of the dead letters, sorted by `createdAt`. redriven: those that were sent again or not; None for all."""
    return work.dead_letters.page(redriven, request)


def get(work: UnitOfWork, letter_id: uuid.UUID) -> DeadLetter:
    """One dead letter. Raises NotFound."""
    letter = work.dead_letters.get(letter_id)
    if letter is None:
        raise NotFound(f"there is no dead letter {letter_id}")
    return letter


def redrive(
    work: UnitOfWork, letter_id: uuid.UUID | None, decode: Callable[[DeadLetter], object], actor: Actor
) -> Redrive:
    """Marks one dead letter, or all open ones (None), as sent again; the caller sends them.

    decode: reads a letter as a consumer would. A letter that it raises MalformedEvent for stays: it would only come
    back. Raises NotFound.
    """
    letters = work.dead_letters.find(limit=REDRIVE_LIMIT) if letter_id is None else [get(work, letter_id)]
    malformed = [(letter, reason) for letter in letters if (reason := _malformed(letter, decode))]
    bad = {letter.id for letter, _ in malformed}
    good = [letter for letter in letters if letter.id not in bad]
    for letter in good:
        work.reset_attempts(letter.source, letter.event_id)
        work.dead_letters.mark_redriven(letter)
        subject = letter.subject or letter.source
        detail = {"id": letter.event_id, "type": letter.type, "destination": letter.destination}
        work.audit("event.redriven", subject, actor, **detail)
    return Redrive(good, malformed, len(letters) == REDRIVE_LIMIT)


def _malformed(letter: DeadLetter, decode: Callable[[DeadLetter], object]) -> str:
    """Why no consumer will ever take this event, "" when one may."""
    try:
        decode(letter)
    except MalformedEvent as error:
        return str(error)
    return ""
