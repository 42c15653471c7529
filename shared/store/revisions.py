"""What every query of applied revisions shares: its conditions, its columns, and how a row is read."""

from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from shared.models.deployment import Deployment, ObjectReference
from shared.models.lifecycle import LIVE_REVISIONS, SETTLED_REVISIONS, RevisionStatus
from shared.store.rows import NOT_UNDERSTOOD, Row, amounts_from, readable, unreadable
from shared.store.tables import clusters, deployments


def may_be_present() -> sa.ColumnElement[bool]:
    """Revisions whose object may be on the cluster: of a Job that is over, too; not of what was refused."""
    failed_there = sa.and_(deployments.c.status == RevisionStatus.FAILED, deployments.c.uid.is_not(None))
    return sa.or_(deployments.c.status.in_((*LIVE_REVISIONS, RevisionStatus.COMPLETED)), failed_there)


REACHABLE = ~sa.exists().where(clusters.c.name == deployments.c.cluster, clusters.c.away_until.is_not(None))
"""Revisions on a cluster that answers, as far as is known."""

SUSPECTABLE = (
    deployments.c.status.in_((*SETTLED_REVISIONS, RevisionStatus.UNHEALTHY)),
    deployments.c.suspected_at.is_(None),
)
"""Revisions that may be put under suspicion: one that is suspected already stays as it is."""


def revision_columns(*, manifests: bool) -> list[sa.ColumnElement[Any]]:
    """What a revision is read from. Without manifests a row is a tenth of its size, and its `manifest` is empty."""
    empty = sa.cast(sa.literal_column("'{}'"), JSONB).label("manifest")
    return [empty if column.name == "manifest" and not manifests else column for column in deployments.c]


def read_revisions(rows: Iterable[Row]) -> Iterator[Deployment]:
    """The revisions of those rows that can be understood."""
    return readable(rows, _read)


def _read(row: Row) -> Deployment:
    """Raises RowUnreadable."""
    try:
        return Deployment(
            id=row.id,
            workload_id=row.workload_id,
            revision=row.revision,
            generation=row.generation,
            plan_id=row.plan_id,
            cluster=row.cluster,
            reference=ObjectReference(row.kind, row.namespace, row.name, row.uid),
            manifest=row.manifest,
            status=RevisionStatus(row.status),
            sku=row.sku,
            amounts=amounts_from(row.amounts),
            rollback_of=row.rollback_of,
            deadline=row.deadline,
            bake=row.bake,
            applied_at=row.applied_at,
            deadline_at=row.deadline_at,
            ready_since=row.ready_since,
            observed_at=row.observed_at,
            reason=row.reason,
            object_digest=row.object_digest,
            suspected_at=row.suspected_at,
            created_at=row.created_at,
            traceparent=row.traceparent,
        )
    except NOT_UNDERSTOOD as error:
        raise unreadable(f"revision {row.revision} of workload {row.workload_id}", error) from error
