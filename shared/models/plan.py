"""Action plans: what is to be done to a workload, before and after policy has looked at it."""

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, JsonValue

from shared.models.amounts import Amounts
from shared.models.fields import DnsLabel, Wire
from shared.models.lifecycle import PlanStatus
from shared.models.moments import rfc3339


class Verb(StrEnum):
    """What a decision does. A reschedule moves what runs off the nodes that are excluded, on the same cluster."""

    DEPLOY = "deploy"
    UPDATE = "update"
    SCALE = "scale"
    ROLLBACK = "rollback"
    RESCHEDULE = "reschedule"
    REMOVE = "remove"

    @property
    def applies(self) -> bool:
        """Whether it puts objects onto a cluster; the only one that does not takes them away."""
        return self is not Verb.REMOVE

    @property
    def restores(self) -> bool:
        """Whether it applies the manifest of a revision again, whatever was submitted since."""
        return self in (Verb.ROLLBACK, Verb.RESCHEDULE)


class PlanSource(StrEnum):
    """Who proposed a plan."""

    USER = "user"
    HEALTH = "health"
    DECISION_SERVICE = "decision_service"


class Decision(Wire):
    """One step of a plan: a verb on one cluster. `revision`: which one a rollback or a reschedule applies again."""

    verb: Verb
    cluster: DnsLabel
    replicas: Annotated[int, Field(ge=0, le=10_000)]
    revision: Annotated[int, Field(ge=1)] | None = None


PLAN_NAMESPACE = uuid.UUID("5e471e1a-0000-5000-8000-000000000003")


def plan_id(workload_id: uuid.UUID, cause: str) -> uuid.UUID:
    """The id of the plan that `cause` (an event's source and id, say) leads to for a workload."""
    return uuid.uuid5(PLAN_NAMESPACE, f"{workload_id}\n{cause}")


@dataclass(frozen=True)
class Approval:
    """What a plan needs from a person: asked for at `requested_at`, and granted or not.

    granted_by: an actor as text, "" while nobody has. reason: what they said.
    """

    requested_at: datetime
    granted_by: str = ""
    granted_at: datetime | None = None
    reason: str = ""

    def as_json(self) -> dict[str, JsonValue]:
        """The approval for machines; `grantedBy` is null while nobody has approved the plan."""
        return {
            "requestedAt": rfc3339(self.requested_at),
            "grantedBy": self.granted_by or None,
            "grantedAt": rfc3339(self.granted_at),
            "reason": self.reason,
        }


@dataclass(frozen=True)
class ActionPlan:
    """A stored plan.

    team: of its workload. sku: of the GPUs, "" without. amounts: what the workload takes up once the plan is done.
    surge: what it takes up beyond that while the plan is being done. overtaken: how often a later plan was let past
    this one in the queue. waits_for: resources of scopes, such as "team/search gpus[H100]"; see
    shared.policy.resources. executions: how often its execution was begun. With the plan's id it is the fencing token
    of a lease: an execution whose number is no longer the plan's has been replaced. proposed_by: an actor as text, who
    cannot approve it. approval: None when no policy has asked for a person. traceparent: where it began; see
    shared.tracing.
    """

    id: uuid.UUID
    workload_id: uuid.UUID
    generation: int
    source: PlanSource
    decision: Decision
    sku: str
    amounts: Amounts
    surge: Amounts
    status: PlanStatus
    next_attempt_at: datetime | None = None
    lease_until: datetime | None = None
    attempts: int = 0
    executions: int = 0
    reason: str = ""
    priority: int = 0
    queued_at: datetime | None = None
    overtaken: int = 0
    waits_for: tuple[str, ...] = ()
    team: str = ""
    proposed_by: str = ""
    approval: Approval | None = None
    created_at: datetime | None = field(default=None, compare=False)
    traceparent: str | None = field(default=None, compare=False)

    def as_json(self) -> dict[str, JsonValue]:
        """The plan for machines. Money is text, times are RFC 3339 in UTC."""
        approval = self.approval
        return {
            "id": str(self.id),
            "workload": str(self.workload_id),
            "team": self.team,
            "generation": self.generation,
            "source": self.source.value,
            "status": self.status.value,
            "reason": self.reason,
            "verb": self.decision.verb.value,
            "cluster": self.decision.cluster,
            "replicas": self.decision.replicas,
            "revision": self.decision.revision,
            "gpus": self.amounts.gpus,
            "sku": self.sku,
            "usdPerHour": str(self.amounts.usd_per_hour),
            "priority": self.priority,
            "proposedBy": self.proposed_by,
            "createdAt": rfc3339(self.created_at),
            "queuedAt": rfc3339(self.queued_at),
            "waitsFor": list(self.waits_for),
            "approval": None if approval is None else approval.as_json(),
        }


@dataclass(frozen=True)
class PlanFilter:
    """Which plans are listed: what is None takes any. teams: of which."""

    team: str | None = None
    status: PlanStatus | None = None
    workload_id: uuid.UUID | None = None
    teams: frozenset[str] | None = None
