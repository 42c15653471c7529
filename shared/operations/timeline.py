"""What happened to one workload, in the order in which it happened, a page at a time.

The audit log is the spine. Plans, decisions, revisions and dead letters say more about some of its rows, for instance
why a plan was denied: their facts are merged into those rows. Two kinds of facts have no row, and are entries of their
own: a revision that was not applied, and a decision that left its plan where it was, such as in the queue.

A page reads of each table only what may be in it, so it costs the same for a workload with a long history.
"""

from __future__ import annotations

import heapq
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared.models.moments import rfc3339
from shared.models.page import HistoryPart, Page

if TYPE_CHECKING:
    from pydantic import JsonValue

    from shared.models.deployment import RecordedRevision
    from shared.models.page import PageRequest
    from shared.policy.decision import DecisionRecord
    from shared.store.audit import AuditEntry
    from shared.store.unit_of_work import UnitOfWork

_PROPOSED = ("plan.proposed", "plan.adopted")
_DECIDED = ("plan.approved", "plan.denied", "plan.queued", "plan.awaiting_approval")
_APPLIED = "deployment.applied"
_DEAD_LETTERED = "event.dead_lettered"
_LATER = 20
"""A decision's row is written at the end of its transaction. So many more rows are searched for it."""

_Key = tuple[object, ...]
_Place = tuple[datetime, str]
_Placed = tuple[_Place, "TimelineEntry | None"]
"""Where something is, by its moment and then by a text; and the entry, unless another entry says the same."""


@dataclass(frozen=True)
class TimelineEntry:
    """Something that happened: a dotted word for it, and its particulars."""

    at: datetime
    what: str
    detail: Mapping[str, Any]

    def as_json(self) -> dict[str, JsonValue]:
        """The entry for machines."""
        return {"at": rfc3339(self.at), "what": self.what, "detail": dict(self.detail)}


def timeline(work: UnitOfWork, workload_id: uuid.UUID, request: PageRequest) -> Page[TimelineEntry]:
    """A page of what is on record about a workload, sorted by time; empty when there is nothing.

    The key of an entry is its moment and a text that orders the entries of one moment.
    """
    # Two more: the entry that the page follows, and one that shows whether another page follows.
    part = HistoryPart(request.after[0] if request.after else None, request.descending, request.limit + 2)
    rows = work.audit_log.about(str(workload_id), part)
    tables: list[list[_Placed]] = [
        _audited(work, workload_id, rows),
        _decided(work, workload_id, part, rows),
        [_intended(revision) for revision in work.history.not_applied(workload_id, part)],
    ]
    # A table that has more is known up to here, and so is the order of all of them.
    ends = {table[-1][0] for table in tables if len(table) == part.limit}
    shown: list[TimelineEntry] = []
    last: _Place | None = None
    for place, entry in heapq.merge(*tables, key=lambda placed: placed[0], reverse=part.backwards):
        if request.after is None or (place < request.after if part.backwards else place > request.after):
            if len(shown) == request.limit:
                return Page(shown, last)
            if entry is not None:
                shown.append(entry)
                last = place
        if place in ends:
            return Page(shown, place)
    return Page(shown)


def _audited(work: UnitOfWork, workload_id: uuid.UUID, rows: Sequence[AuditEntry]) -> list[_Placed]:
    """The rows of the audit log, each with the facts that say more about it."""
    facts = {**_plans(work, rows), **_decisions(work, rows)}
    facts |= {**_revisions(work, workload_id, rows), **_letters(work, workload_id, rows)}
    return [((row.recorded_at, f"0 {row.sequence:020}"), _merged(row, facts.get(_key(row), {}))) for row in rows]


def _decided(work: UnitOfWork, workload_id: uuid.UUID, part: HistoryPart, rows: Sequence[AuditEntry]) -> list[_Placed]:
    """The decisions; those that a row of the audit log is about are no entries of their own.

    That row may be behind the newest of the page.
    """
    newest = part.start if part.backwards else rows[-1].recorded_at if len(rows) == part.limit else None
    later = work.audit_log.about(str(workload_id), HistoryPart(newest, False, _LATER)) if newest else []
    recorded = {_key(row) for row in (*rows, *later) if row.action in _DECIDED}
    placed: list[_Placed] = []
    for one in work.history.decisions(workload_id, part):
        what = "plan.approved" if one.approved else "plan.denied"
        detail = {"plan": str(one.plan_id), **_decision(one)}
        entry = None if _decision_key(one) in recorded else TimelineEntry(one.decided_at, what, detail)
        placed.append(((one.decided_at, f"1 {one.id}"), entry))
    return placed


def _intended(revision: RecordedRevision) -> _Placed:
    detail = {"revision": revision.revision, **_revision(revision)}
    entry = TimelineEntry(revision.intended_at, "deployment.intended", detail)
    return (entry.at, f"2 {revision.revision:010}"), entry


def _merged(row: AuditEntry, more: Mapping[str, Any]) -> TimelineEntry:
    """`at` in a row's detail is when its event was claimed; the moment of the row is more exact."""
    detail = {name: value for name, value in row.detail.items() if name != "at"}
    return TimelineEntry(row.recorded_at, row.action, {**more, **detail, **more})


def _key(row: AuditEntry) -> _Key:
    """What a row has in common with the facts about it; of any other row nothing."""
    detail = row.detail
    if row.action in _PROPOSED:
        return "plan", detail.get("plan")
    if row.action in _DECIDED:
        return "decision", detail.get("plan"), detail.get("at")
    if row.action == _APPLIED:
        return "revision", detail.get("revision")
    if row.action == _DEAD_LETTERED:
        return "letter", detail.get("id"), detail.get("destination")
    return ()


def _details(rows: Sequence[AuditEntry], actions: Sequence[str], *names: str) -> list[Mapping[str, Any]]:
    """The details of the rows of these actions that have all the names: bytes that were changed say nothing."""
    return [row.detail for row in rows if row.action in actions and all(name in row.detail for name in names)]


def _plans(work: UnitOfWork, rows: Sequence[AuditEntry]) -> dict[_Key, dict[str, Any]]:
    wanted = [uuid.UUID(detail["plan"]) for detail in _details(rows, _PROPOSED, "plan")]
    return {
        ("plan", str(plan.id)): {
            "verb": plan.decision.verb.value,
            "cluster": plan.decision.cluster,
            "replicas": plan.decision.replicas,
            "generation": plan.generation,
            "source": plan.source.value,
            "plan_status": plan.status.value,
        }
        for plan in work.history.plans(wanted)
    }


def _decisions(work: UnitOfWork, rows: Sequence[AuditEntry]) -> dict[_Key, dict[str, Any]]:
    decided = _details(rows, _DECIDED, "plan", "at")
    wanted = [(uuid.UUID(detail["plan"]), datetime.fromisoformat(detail["at"])) for detail in decided]
    return {_decision_key(one): _decision(one) for one in work.history.decisions_at(wanted)}


def _decision_key(one: DecisionRecord) -> _Key:
    return "decision", str(one.plan_id), one.decided_at.isoformat()


def _decision(one: DecisionRecord) -> dict[str, Any]:
    return {
        "policies": list(one.determining),
        "violations": [dict(violation) for violation in one.violations],
        "warnings": list(one.warnings),
        "duration_us": one.duration_us,
    }


def _revisions(work: UnitOfWork, workload_id: uuid.UUID, rows: Sequence[AuditEntry]) -> dict[_Key, dict[str, Any]]:
    wanted = [detail["revision"] for detail in _details(rows, (_APPLIED,), "revision")]
    return {("revision", one.revision): _revision(one) for one in work.history.revisions(workload_id, wanted)}


def _revision(revision: RecordedRevision) -> dict[str, Any]:
    return {
        "generation": revision.generation,
        "cluster": revision.cluster,
        "object": str(revision.reference),
        "rollback_of": revision.rollback_of,
        "revision_status": revision.status.value,
        "status_reason": revision.reason,
    }


def _letters(work: UnitOfWork, workload_id: uuid.UUID, rows: Sequence[AuditEntry]) -> dict[_Key, dict[str, Any]]:
    wanted = [detail["id"] for detail in _details(rows, (_DEAD_LETTERED,), "id")]
    return {
        ("letter", letter.event_id, letter.destination): {
            "dead_letter": str(letter.id),
            "type": letter.type,
            "error_code": letter.error_code,
            "reason": letter.reason,
            "redriven": letter.redriven_at is not None,
        }
        for letter in work.dead_letters.of_events(str(workload_id), wanted)
    }
