"""Deployments: one applied revision of a workload on one cluster."""

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pydantic import JsonValue

from shared.models.amounts import NOTHING, Amounts
from shared.models.lifecycle import RevisionStatus
from shared.models.moments import rfc3339


@dataclass(frozen=True)
class ObjectReference:
    """A Kubernetes object by its coordinates; `uid` once it was seen."""

    kind: str
    namespace: str
    name: str
    uid: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True)
class OwnedField:
    """A field of an object that another field manager owns. field: its path, as an API server writes it."""

    field: str
    manager: str

    def __str__(self) -> str:
        return f"{self.field} ({self.manager})"


@dataclass(frozen=True)
class Deployment:
    """A revision with the manifest that was applied, and what it takes up once it has settled.

    deadline, bake: those that it was submitted with; a rollback has those of the revision that it goes back to. None
    where an earlier release wrote the revision. object_digest: of the fields that were applied, None where it is not
    known; see shared.rollout.owned_fields. suspected_at: when a sweep found something to be looked at more closely.
    traceparent: where it began, until it has been verified; see shared.tracing.
    """

    id: uuid.UUID
    workload_id: uuid.UUID
    revision: int
    generation: int
    plan_id: uuid.UUID
    cluster: str
    reference: ObjectReference
    manifest: dict[str, Any]
    status: RevisionStatus
    sku: str = ""
    amounts: Amounts = NOTHING
    rollback_of: int | None = None
    deadline: timedelta | None = None
    bake: timedelta | None = None
    applied_at: datetime | None = None
    deadline_at: datetime | None = None
    ready_since: datetime | None = None
    observed_at: datetime | None = None
    reason: str = field(default="")
    object_digest: str | None = None
    suspected_at: datetime | None = None
    created_at: datetime | None = None
    traceparent: str | None = field(default=None, compare=False)

    def shares_object(self, other: "Deployment") -> bool:
        """Whether both stand for one object of a cluster. Both are of one workload, so of one namespace."""
        ours, theirs = self.reference, other.reference
        return (self.cluster, ours.kind, ours.name) == (other.cluster, theirs.kind, theirs.name)


@dataclass(frozen=True)
class RecordedRevision:
    """A revision with what verification found, and when. reason: why its status is what it is."""

    revision: int
    generation: int
    plan_id: uuid.UUID
    cluster: str
    reference: ObjectReference
    image: str
    replicas: int
    rollback_of: int | None
    status: RevisionStatus
    reason: str
    intended_at: datetime
    applied_at: datetime | None
    deadline_at: datetime | None
    ready_since: datetime | None
    healthy_at: datetime | None
    observed_at: datetime | None

    def as_json(self) -> dict[str, JsonValue]:
        """The revision for machines. Times are RFC 3339 in UTC."""
        moments = {
            "intendedAt": self.intended_at,
            "appliedAt": self.applied_at,
            "deadlineAt": self.deadline_at,
            "readySince": self.ready_since,
            "healthyAt": self.healthy_at,
            "observedAt": self.observed_at,
        }
        return {
            "revision": self.revision,
            "generation": self.generation,
            "plan": str(self.plan_id),
            "cluster": self.cluster,
            "object": str(self.reference),
            "image": self.image,
            "replicas": self.replicas,
            "rollbackOf": self.rollback_of,
            "status": self.status.value,
            "reason": self.reason,
            **{name: rfc3339(value) for name, value in moments.items()},
        }
