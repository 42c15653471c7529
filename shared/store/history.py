"""What happened to one workload, in the order in which it happened.

The audit log is the spine. Plans, decisions and revisions say more about some of its rows (why a plan was denied, what
became of a revision), so their facts are woven into those rows; what no row speaks of gets a moment of its own.
"""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import JsonValue

from shared.store import audit
from shared.store.tables import action_plans, dead_letters, deployments, policy_decisions


@dataclass(frozen=True)
class Moment:
    """Something that happened: a dotted word for it, and its particulars."""

    at: datetime
    what: str
    detail: Mapping[str, Any]


@dataclass(frozen=True)
class _Fact:
    """What a row knows of the moments named in `speaks_of` whose particulars agree with `about`."""

    moment: Moment
    speaks_of: tuple[str, ...]
    about: Mapping[str, JsonValue]


def timeline(connection: sa.Connection, workload_id: uuid.UUID) -> list[Moment]:
    """Everything on record about a workload, oldest first; empty when there is nothing.

    Moments of one transaction share their time: they keep the order of the audit log, and what it does not tell of
    follows by its name and particulars.
    """
    moments = [_told(entry) for entry in audit.entries(connection, str(workload_id))]
    facts = [fact for read in (_plans, _decisions, _revisions, _dead_letters) for fact in read(connection, workload_id)]
    woven: set[int] = set()
    for fact in sorted(facts, key=lambda fact: (fact.moment.at, fact.moment.what, str(fact.about))):
        _weave(fact, moments, woven)
    return sorted(moments, key=lambda moment: moment.at)


def _told(entry: audit.AuditEntry) -> Moment:
    """`at` is when the event was claimed that led to the row: the moment of the row says it better."""
    detail = {name: value for name, value in entry.detail.items() if name != "at"}
    return Moment(entry.recorded_at, entry.action, detail)


def _weave(fact: _Fact, moments: list[Moment], woven: set[int]) -> None:
    """Into the first moment that the fact speaks of and that no earlier fact took: a plan may be judged twice."""
    more = fact.moment.detail
    for position, told in enumerate(moments):
        if (
            position not in woven
            and told.what in fact.speaks_of
            and fact.about.items() <= _scalars(told.detail).items()
        ):
            moments[position] = Moment(told.at, told.what, {**more, **told.detail, **more})
            woven.add(position)
            return
    moments.append(Moment(fact.moment.at, fact.moment.what, {**fact.about, **more}))


def _scalars(detail: Mapping[str, Any]) -> dict[str, JsonValue]:
    return {name: value for name, value in detail.items() if not isinstance(value, list | dict)}


def _plans(connection: sa.Connection, workload_id: uuid.UUID) -> Iterator[_Fact]:
    for row in connection.execute(sa.select(action_plans).where(action_plans.c.workload_id == workload_id)):
        detail = {
            "verb": row.decision["verb"],
            "cluster": row.decision["cluster"],
            "replicas": row.decision["replicas"],
            "generation": row.generation,
            "source": row.source,
            "plan_status": row.status,
        }
        moment = Moment(row.created_at, "plan.proposed", detail)
        yield _Fact(moment, ("plan.proposed", "plan.adopted"), {"plan": str(row.id)})


def _decisions(connection: sa.Connection, workload_id: uuid.UUID) -> Iterator[_Fact]:
    for row in connection.execute(sa.select(policy_decisions).where(policy_decisions.c.workload_id == workload_id)):
        what = "plan.approved" if row.approved else "plan.denied"
        detail = {
            "policies": row.determining,
            "violations": row.violations,
            "warnings": row.warnings,
            "duration_us": row.duration_us,
        }
        yield _Fact(Moment(row.created_at, what, detail), (what,), {"plan": str(row.plan_id)})


def _revisions(connection: sa.Connection, workload_id: uuid.UUID) -> Iterator[_Fact]:
    for row in connection.execute(sa.select(deployments).where(deployments.c.workload_id == workload_id)):
        detail = {
            "generation": row.generation,
            "cluster": row.cluster,
            "object": f"{row.kind} {row.namespace}/{row.name}",
            "rollback_of": row.rollback_of,
            "revision_status": row.status,
            "status_reason": row.reason,
        }
        moment = Moment(row.created_at, "deployment.intended", detail)
        yield _Fact(moment, ("deployment.applied",), {"revision": row.revision})


def _dead_letters(connection: sa.Connection, workload_id: uuid.UUID) -> Iterator[_Fact]:
    for row in connection.execute(sa.select(dead_letters).where(dead_letters.c.subject == str(workload_id))):
        detail = {
            "dead_letter": str(row.id),
            "type": row.type,
            "error_code": row.error_code,
            "reason": row.reason,
            "redriven": row.redriven_at is not None,
        }
        about = {"id": row.event_id, "destination": row.destination}
        yield _Fact(Moment(row.created_at, "event.dead_lettered", detail), ("event.dead_lettered",), about)
