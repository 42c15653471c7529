"""Action plans on their way through policy."""

import uuid
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import Field, JsonValue

from events.catalogue import CATALOGUE
from shared.eventing.event_types import EventData
from shared.models.fields import Wire
from shared.models.plan import ActionPlan, Decision, PlanSource

_DECISION: dict[str, JsonValue] = {"verb": "deploy", "cluster": "local", "replicas": 2}
_PLAN: dict[str, JsonValue] = {
    "plan": "0c8d5f8e-7f4f-5d9e-8a52-1c5a3a1e5b60",
    "workload": "9403eeb2-8848-53a3-90c2-1095c047864f",
    "generation": 1,
    "decisions": [_DECISION],
}


class PlanData(EventData):
    """What every plan event says. One decision a plan."""

    plan: uuid.UUID
    workload: uuid.UUID
    generation: Annotated[int, Field(ge=1)]
    decisions: Annotated[tuple[Decision, ...], Field(min_length=1, max_length=1)]

    @property
    def decision(self) -> Decision:
        return self.decisions[0]

    @classmethod
    def of(cls, plan: ActionPlan, **more: Any) -> Self:
        """The data that tells of a stored plan; `more` is what the subclass adds."""
        return cls(
            plan=plan.id, workload=plan.workload_id, generation=plan.generation, decisions=(plan.decision,), **more
        )


@CATALOGUE.declare("dev.sentinel.plan.proposed.v1", example={**_PLAN, "source": "user", "usdPerHour": "1.61"})
class PlanProposed(PlanData):
    """A plan for policy to decide. `usd_per_hour` informs readers; policy prices by Sentinel's own facts."""

    source: PlanSource = PlanSource.DECISION_SERVICE
    usd_per_hour: Decimal | None = None


@CATALOGUE.declare("dev.sentinel.plan.reconsidered.v1", example=_PLAN)
class PlanReconsidered(PlanData):
    """A plan in the queue that may fit now; policy decides it again."""


class FindingData(Wire):
    """One violation: which rule of which policy, on which field, its limit and what was seen.

    until: when time alone mends it, where that is known.
    """

    policy: str
    rule: str
    field: str
    limit: str
    observed: str
    message: str
    until: datetime | None = None


@CATALOGUE.declare(
    "dev.sentinel.plan.approved.v1", example={**_PLAN, "usdPerHour": "1.61", "warnings": ["no_policy_matched"]}
)
class PlanApproved(PlanData):
    """A notice that a plan was approved. It authorises nothing: execution asks the database."""

    usd_per_hour: Decimal | None = None
    warnings: tuple[str, ...] = ()


@CATALOGUE.declare(
    "dev.sentinel.plan.queued.v1",
    terminal=True,
    example={**_PLAN, "waitsFor": ["team/search gpus"], "message": "team search would hold 18 GPUs; its quota is 16"},
)
class PlanQueued(PlanData):
    """A plan that does not fit now. It is decided again when there may be room.

    waits_for: resources of scopes, such as "team/search gpus[H100]" or "cluster/eu cpu", or what a cluster would have
    to be given, such as "cluster/eu capacity[H100]".
    """

    waits_for: tuple[str, ...]
    message: str


@CATALOGUE.declare(
    "dev.sentinel.plan.awaitingapproval.v1",
    terminal=True,
    example={
        **_PLAN,
        "approveBy": "2026-12-01T09:30:00Z",
        "message": "more than 8 GPUs (16) needs approval: a person must approve it by 2026-12-01T09:30:00+00:00",
    },
)
class PlanAwaitingApproval(PlanData):
    """A plan that a person must approve by `approve_by`. Otherwise it is denied then."""

    approve_by: datetime
    message: str


@CATALOGUE.declare(
    "dev.sentinel.plan.denied.v1",
    terminal=True,
    example={
        **_PLAN,
        "violations": [
            {
                "policy": "team-gpus",
                "rule": "quota",
                "field": "gpus",
                "limit": "16",
                "observed": "18",
                "message": "team search would hold 18 GPUs; its quota is 16",
            }
        ],
        "moreViolations": 0,
        "warnings": [],
    },
)
class PlanDenied(PlanData):
    """A plan that will not be executed, and why. more_violations: how many there are beside those that are listed."""

    violations: tuple[FindingData, ...]
    more_violations: Annotated[int, Field(ge=0)] = 0
    warnings: tuple[str, ...] = ()
