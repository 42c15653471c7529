"""What Sentinel's tables record of one workload besides its audit rows, with the moment of each row."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from shared.models.deployment import ObjectReference, RecordedRevision
from shared.models.lifecycle import PlanStatus, RevisionStatus
from shared.models.page import HistoryPart, Page, PageRequest
from shared.models.plan import Decision, PlanSource
from shared.models.validation import read_stored
from shared.policy.decision import DecisionRecord
from shared.store import pages
from shared.store.plans import decision_from
from shared.store.rows import Row, amounts_from
from shared.store.tables import action_plans, deployments, policy_decisions


@dataclass(frozen=True)
class ProposedPlan:
    """An action plan, and when it was proposed."""

    id: uuid.UUID
    decision: Decision
    generation: int
    source: PlanSource
    status: PlanStatus
    proposed_at: datetime


@dataclass(frozen=True)
class HistoryRows:
    """The records of one workload, inside one transaction."""

    connection: sa.Connection

    def plans(self, ids: Collection[uuid.UUID]) -> list[ProposedPlan]:
        """These plans, as far as they are kept."""
        columns = action_plans.c
        statement = sa.select(
            columns.id, columns.decision, columns.generation, columns.source, columns.status, columns.created_at
        ).where(columns.id.in_(ids))
        return [
            ProposedPlan(
                id=row.id,
                decision=read_stored(Decision, row.decision),
                generation=row.generation,
                source=PlanSource(row.source),
                status=PlanStatus(row.status),
                proposed_at=row.created_at,
            )
            for row in self.connection.execute(statement)
        ]

    def decisions(self, workload_id: uuid.UUID, part: HistoryPart) -> list[DecisionRecord]:
        """The verdicts on a workload's plans, by their moment."""
        statement = sa.select(policy_decisions).where(policy_decisions.c.workload_id == workload_id)
        key = (policy_decisions.c.created_at, policy_decisions.c.id)
        return [decision_from(row) for row in self.connection.execute(pages.part_of(statement, key, part))]

    def decisions_at(self, wanted: Collection[tuple[uuid.UUID, datetime]]) -> list[DecisionRecord]:
        """The verdicts on plans at moments."""
        if not wanted:
            return []
        plans, moments = {plan for plan, _ in wanted}, {moment for _, moment in wanted}
        columns = policy_decisions.c
        statement = sa.select(policy_decisions).where(columns.plan_id.in_(plans), columns.created_at.in_(moments))
        return [decision_from(row) for row in self.connection.execute(statement)]

    def revisions(self, workload_id: uuid.UUID, numbers: Collection[int]) -> list[RecordedRevision]:
        """These revisions of a workload, as far as they are kept; without their manifests."""
        columns = deployments.c
        statement = _REVISIONS.where(columns.workload_id == workload_id, columns.revision.in_(numbers))
        return [_revision(row) for row in self.connection.execute(statement)]

    def not_applied(self, workload_id: uuid.UUID, part: HistoryPart) -> list[RecordedRevision]:
        """The revisions of a workload that were intended and not applied, by the moment of that."""
        statement = _REVISIONS.where(deployments.c.workload_id == workload_id, deployments.c.applied_at.is_(None))
        key = (deployments.c.created_at, deployments.c.revision)
        return [_revision(row) for row in self.connection.execute(pages.part_of(statement, key, part))]

    def page_of_revisions(self, workload_id: uuid.UUID, request: PageRequest) -> Page[RecordedRevision]:
        """A page of the revisions of a workload, sorted by `revision`."""
        statement = _REVISIONS.where(deployments.c.workload_id == workload_id)
        sorts = {"revision": (deployments.c.revision,)}
        return pages.fetch(self.connection, statement, sorts, request, _revision)


_FIELDS = (
    *("revision", "generation", "plan_id", "cluster", "kind", "namespace", "name", "uid", "rollback_of", "status"),
    *("reason", "amounts", "created_at", "applied_at", "deadline_at", "ready_since", "healthy_at", "observed_at"),
)
_REVISIONS: sa.Select[Any] = sa.select(
    *(deployments.c[name] for name in _FIELDS),
    sa.literal_column("manifest #>> '{spec,template,spec,containers,0,image}'", sa.Text).label("image"),
)


def _revision(row: Row) -> RecordedRevision:
    return RecordedRevision(
        revision=row.revision,
        generation=row.generation,
        plan_id=row.plan_id,
        cluster=row.cluster,
        reference=ObjectReference(row.kind, row.namespace, row.name, row.uid),
        image=row.image or "",
        replicas=amounts_from(row.amounts).replicas,
        rollback_of=row.rollback_of,
        status=RevisionStatus(row.status),
        reason=row.reason,
        intended_at=row.created_at,
        applied_at=row.applied_at,
        deadline_at=row.deadline_at,
        ready_since=row.ready_since,
        healthy_at=row.healthy_at,
        observed_at=row.observed_at,
    )
