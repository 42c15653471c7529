"""What happened to one workload, in the order in which it happened.

The audit log is the spine. Plans, decisions, revisions and dead letters say more about some of its rows, for instance
why a plan was denied: their facts are merged into those rows. A fact that no row is about is an entry of its own.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared.errors import NotFound
from shared.models.moments import rfc3339
from shared.models.workload import workload_id
from shared.operations import workloads

if TYPE_CHECKING:
    from pydantic import JsonValue

    from shared.models.stored import Workload
    from shared.operations.workloads import WorkloadReference
    from shared.store.audit import AuditEntry
    from shared.store.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class TimelineEntry:
    """Something that happened: a dotted word for it, and its particulars."""

    at: datetime
    what: str
    detail: Mapping[str, Any]

    def as_json(self) -> dict[str, JsonValue]:
        """The entry for machines."""
        return {"at": rfc3339(self.at), "what": self.what, "detail": dict(self.detail)}


@dataclass(frozen=True)
class Timeline:
    """The entries of a workload, oldest first. workload: None when it was never taken in."""

    workload_id: uuid.UUID
    workload: Workload | None
    entries: list[TimelineEntry]


@dataclass(frozen=True)
class _Fact:
    """What a record knows of the entries named in `describes` whose particulars agree with `key`."""

    entry: TimelineEntry
    describes: tuple[str, ...]
    key: Mapping[str, JsonValue]


def trace(work: UnitOfWork, reference: WorkloadReference) -> Timeline:
    """The timeline of a workload, also of one that intake rejected, which is in no table.

    A reference by name then means team and namespace `default` where it gives none. Raises NotFound when there is
    nothing on record, and AmbiguousName.
    """
    try:
        workload = workloads.get(work, reference)
    except NotFound:
        rejected = reference.id or workload_id(
            reference.team or "default", reference.namespace or "default", reference.text
        )
        entries = timeline(work, rejected)
        if not entries:
            raise
        return Timeline(rejected, None, entries)
    return Timeline(workload.id, workload, timeline(work, workload.id))


def timeline(work: UnitOfWork, workload_id: uuid.UUID) -> list[TimelineEntry]:
    """Everything on record about a workload, oldest first; empty when there is nothing.

    Entries of one transaction share their time. They keep the order of the audit log; entries without an audit row
    follow by their name and particulars.
    """
    entries = [_audited(row) for row in work.audit_entries(str(workload_id))]
    facts = [fact for read in (_plans, _decisions, _revisions, _dead_letters) for fact in read(work, workload_id)]
    taken: set[int] = set()
    for fact in sorted(facts, key=lambda fact: (fact.entry.at, fact.entry.what, str(fact.key))):
        _merge(fact, entries, taken)
    return sorted(entries, key=lambda entry: entry.at)


def _audited(row: AuditEntry) -> TimelineEntry:
    """`at` in a row's detail is when its event was claimed; the moment of the row is more exact."""
    detail = {name: value for name, value in row.detail.items() if name != "at"}
    return TimelineEntry(row.recorded_at, row.action, detail)


def _merge(fact: _Fact, entries: list[TimelineEntry], taken: set[int]) -> None:
    """Into the first entry that the fact describes and that no earlier fact took: a plan may be decided twice."""
    more = fact.entry.detail
    for position, entry in enumerate(entries):
        if (
            position not in taken
            and entry.what in fact.describes
            and fact.key.items() <= _scalars(entry.detail).items()
        ):
            entries[position] = TimelineEntry(entry.at, entry.what, {**more, **entry.detail, **more})
            taken.add(position)
            return
    entries.append(TimelineEntry(fact.entry.at, fact.entry.what, {**fact.key, **more}))


def _scalars(detail: Mapping[str, Any]) -> dict[str, JsonValue]:
    return {name: value for name, value in detail.items() if not isinstance(value, list | dict)}


def _plans(work: UnitOfWork, workload_id: uuid.UUID) -> Iterator[_Fact]:
    for plan in work.history.plans(workload_id):
        detail = {
            "verb": plan.decision.verb.value,
            "cluster": plan.decision.cluster,
            "replicas": plan.decision.replicas,
            "generation": plan.generation,
            "source": plan.source.value,
            "plan_status": plan.status.value,
        }
        entry = TimelineEntry(plan.proposed_at, "plan.proposed", detail)
        yield _Fact(entry, ("plan.proposed", "plan.adopted"), {"plan": str(plan.id)})


def _decisions(work: UnitOfWork, workload_id: uuid.UUID) -> Iterator[_Fact]:
    for decision in work.plans.decisions_on(workload_id):
        what = "plan.approved" if decision.approved else "plan.denied"
        detail = {
            "policies": list(decision.determining),
            "violations": [dict(violation) for violation in decision.violations],
            "warnings": list(decision.warnings),
            "duration_us": decision.duration_us,
        }
        describes = (what,) if decision.approved else (what, "plan.queued", "plan.awaiting_approval")
        yield _Fact(TimelineEntry(decision.decided_at, what, detail), describes, {"plan": str(decision.plan_id)})


def _revisions(work: UnitOfWork, workload_id: uuid.UUID) -> Iterator[_Fact]:
    for revision in work.history.revisions(workload_id):
        detail = {
            "generation": revision.generation,
            "cluster": revision.cluster,
            "object": str(revision.reference),
            "rollback_of": revision.rollback_of,
            "revision_status": revision.status.value,
            "status_reason": revision.reason,
        }
        entry = TimelineEntry(revision.intended_at, "deployment.intended", detail)
        yield _Fact(entry, ("deployment.applied",), {"revision": revision.revision})


def _dead_letters(work: UnitOfWork, workload_id: uuid.UUID) -> Iterator[_Fact]:
    for letter in work.dead_letters.of_subject(str(workload_id)):
        assert letter.created_at is not None  # it is stored
        detail = {
            "dead_letter": str(letter.id),
            "type": letter.type,
            "error_code": letter.error_code,
            "reason": letter.reason,
            "redriven": letter.redriven_at is not None,
        }
        key = {"id": letter.event_id, "destination": letter.destination}
        yield _Fact(TimelineEntry(letter.created_at, "event.dead_lettered", detail), ("event.dead_lettered",), key)
