"""Requests that no role permits, in the audit log: each is counted, and few are a row.

A caller in a loop must not fill the log. Of what one caller is denied for want of one permission, the first about each
subject within a minute is a row, up to MOST_SUBJECTS subjects. All others are counted in PostgreSQL, and the next row
says how many those were, as `repeated`. When no other denial follows, a tick writes a last row with the count.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from shared.models.actor import Actor, ActorKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

    from shared.store.unit_of_work import UnitOfWork

WINDOW = timedelta(minutes=1)
MOST_SUBJECTS = 20
"""Rows of one caller and permission in a minute: who asks for a thousand objects in a loop gets no thousand rows."""
_AT_ONCE = 100
_ACTION = "request.denied"


@dataclass(frozen=True)
class Denial:
    """What was denied to whom. caller: the actor as text, or the address of one who is not known.

    permission: "" where nobody knows who asks. subject: what was asked for. detail: for the audit log, no secret.
    """

    actor: Actor
    caller: str
    permission: str
    subject: str
    detail: Mapping[str, JsonValue]


def record(work: UnitOfWork, denial: Denial) -> None:
    """Counts a denial, and writes its row if it is to have one."""
    entry: dict[str, JsonValue] = {
        "kind": denial.actor.kind.value,
        "name": denial.actor.name,
        "subject": denial.subject,
        "detail": dict(denial.detail),
    }
    key = f"{denial.caller}\n{denial.permission}"
    about = denial.subject if denial.permission else ""  # whoever is not known may ask for anything
    repeated = work.denials.count(key, about, entry, WINDOW, MOST_SUBJECTS)
    if repeated is not None:
        _write(work, denial.actor, denial.subject, denial.detail, repeated)


def conclude(work: UnitOfWork) -> None:
    """Writes a row about what was only counted, of callers that have been quiet for a minute."""
    for entry, counted in work.denials.drop_quiet(WINDOW, _AT_ONCE):
        if counted:
            _write(work, Actor(ActorKind(entry["kind"]), entry["name"]), entry["subject"], entry["detail"], counted)


def _write(work: UnitOfWork, actor: Actor, subject: str, detail: Mapping[str, Any], repeated: int) -> None:
    more = {"repeated": repeated} if repeated else {}
    work.audit(_ACTION, subject, actor, **detail, **more)
