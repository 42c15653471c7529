"""What Sentinel's tables record of one workload besides its audit rows, with the moment of each row."""

import uuid
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from shared.models.deployment import ObjectReference
from shared.models.lifecycle import PlanStatus, RevisionStatus
from shared.models.plan import Decision, PlanSource
from shared.models.validation import read_stored
from shared.store.tables import action_plans, deployments


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
class IntendedRevision:
    """A revision, and when its apply was intended. reason: why its status is what it is."""

    revision: int
    generation: int
    cluster: str
    reference: ObjectReference
    rollback_of: int | None
    status: RevisionStatus
    reason: str
    intended_at: datetime


@dataclass(frozen=True)
class HistoryRows:
    """The records of one workload, inside one transaction."""

    connection: sa.Connection

    def plans(self, workload_id: uuid.UUID) -> list[ProposedPlan]:
        """Every plan of a workload, oldest first."""
        columns = action_plans.c
        statement = (
            sa.select(
                columns.id, columns.decision, columns.generation, columns.source, columns.status, columns.created_at
            )
            .where(columns.workload_id == workload_id)
            .order_by(columns.created_at, columns.id)
        )
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

    def revisions(self, workload_id: uuid.UUID) -> list[IntendedRevision]:
        """Every revision of a workload, oldest first; without its manifest."""
        columns = deployments.c
        statement = (
            sa.select(
                *(columns.revision, columns.generation, columns.cluster, columns.kind, columns.namespace, columns.name),
                *(columns.uid, columns.rollback_of, columns.status, columns.reason, columns.created_at),
            )
            .where(columns.workload_id == workload_id)
            .order_by(columns.revision)
        )
        return [
            IntendedRevision(
                revision=row.revision,
                generation=row.generation,
                cluster=row.cluster,
                reference=ObjectReference(row.kind, row.namespace, row.name, row.uid),
                rollback_of=row.rollback_of,
                status=RevisionStatus(row.status),
                reason=row.reason,
                intended_at=row.created_at,
            )
            for row in self.connection.execute(statement)
        ]
