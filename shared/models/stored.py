"""A workload as Sentinel stores it: the newest submission, and how far it has come; and which of them are listed."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from pydantic import JsonValue

from shared.models.lifecycle import Phase
from shared.models.moments import rfc3339
from shared.models.selector import Requirement
from shared.models.workload import WorkloadSpec


@dataclass(frozen=True)
class WorkloadFilter:
    """Which workloads are listed: what is None takes any. teams: of which; labels: what a selector asks of them."""

    team: str | None = None
    namespace: str | None = None
    name: str | None = None
    phase: Phase | None = None
    cluster: str | None = None
    labels: tuple[Requirement, ...] = ()
    teams: frozenset[str] | None = None


@dataclass(frozen=True)
class PhaseCount:
    """How many workloads of a team are in a phase."""

    team: str
    phase: Phase
    workloads: int

    def as_json(self) -> dict[str, JsonValue]:
        """The count for machines."""
        return {"team": self.team, "phase": self.phase.value, "workloads": self.workloads}


@dataclass(frozen=True)
class Workload:
    """`plan_id` is the newest plan: any other is superseded. `revision` is the newest applied one, 0 before the first.

    usd_per_replica_hour: by the catalogue, when the generation was taken in. queued_plan_id: a plan in the queue that
    is proposed again once the newest plan, a rollback, has ended.
    """

    id: uuid.UUID
    spec: WorkloadSpec
    generation: int
    usd_per_replica_hour: Decimal
    phase: Phase
    cluster: str
    plan_id: uuid.UUID
    revision: int = 0
    withdrawn: bool = False
    reason: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    queued_plan_id: uuid.UUID | None = None

    def as_json(self, *, spec: bool = False) -> dict[str, JsonValue]:
        """How the workload stands, for machines; with `spec` also what was asked for.

        Money is text (a JSON number would become a float on the way), times are RFC 3339 in UTC.
        """
        autoscaling = self.spec.autoscaling
        view: dict[str, JsonValue] = {
            "id": str(self.id),
            "name": self.spec.name,
            "team": self.spec.team,
            "namespace": self.spec.namespace,
            "type": self.spec.type.value,
            "phase": self.phase.value,
            "reason": self.reason,
            "generation": self.generation,
            "revision": self.revision,
            "replicas": self.spec.most_replicas if autoscaling is None else autoscaling.model_dump(mode="json"),
            "gpus": self.spec.most_replicas * self.spec.resources.gpu.count,
            "usdPerHour": str(self.usd_per_replica_hour * self.spec.most_replicas),
            "cluster": self.cluster,
            "image": self.spec.image,
            "plan": str(self.plan_id),
            "withdrawn": self.withdrawn,
            "createdAt": rfc3339(self.created_at),
            "updatedAt": rfc3339(self.updated_at),
        }
        return view | {"spec": self.spec.model_dump(mode="json", by_alias=True)} if spec else view
