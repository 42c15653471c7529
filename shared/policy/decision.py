"""The plan that policies are evaluated on, and the decision on it."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

from shared.models.amounts import NOTHING, Amounts
from shared.models.plan import Approval, Verb
from shared.models.pod import Security
from shared.models.workload import WorkloadType
from shared.policy.resources import ScopedResource
from shared.policy.vocabulary import CountingScope, ScopeKind

NO_POLICY_MATCHED = "no_policy_matched"


@dataclass(frozen=True)
class PlanView:
    """A plan as policy sees it; every figure is Sentinel's own.

    lines: what the plan will hold, by GPU SKU. held: what its workload holds on that cluster now. created_at: when the
    workload was first taken in, None for one that is new. queue: whether its workload asks to wait rather than be
    denied. tolerations: the keys of the taints that its pods tolerate on request, "" for every taint. node_selector:
    its keys. approval: what a person was asked for and has said.
    """

    plan_id: uuid.UUID
    workload_id: uuid.UUID
    name: str
    verb: Verb
    type: WorkloadType
    team: str
    namespace: str
    cluster: str
    labels: Mapping[str, str]
    image: str
    security: Security
    host_paths: tuple[str, ...]
    lines: Mapping[str, Amounts]
    held: Mapping[str, Amounts]
    created_at: datetime | None = None
    queue: bool = False
    tolerations: tuple[str, ...] = ()
    node_selector: tuple[str, ...] = ()
    approval: Approval | None = None

    @cached_property
    def reduces_harm(self) -> bool:
        """Whether it reduces harm: nothing that it costs or holds holds it up.

        Rollback, remove and scale-down do; so does a reschedule, which takes what runs off a node at fault, and in the
        end takes no more than before.
        """
        return self.verb.restores or self.verb is Verb.REMOVE or (self.verb is Verb.SCALE and self._within_held)

    @cached_property
    def scales_up(self) -> bool:
        """Whether it only adds replicas, which helps a workload that burns its error budget."""
        return self.verb is Verb.SCALE and not self._within_held

    @cached_property
    def adds_gpus(self) -> bool:
        """Whether it takes more GPUs of any SKU than its workload holds on the cluster."""
        return not self.reduces_harm and any(
            amounts.gpus > self.held.get(sku, NOTHING).gpus for sku, amounts in self.lines.items()
        )

    @property
    def full_name(self) -> str:
        return f"{self.team}/{self.namespace}/{self.name}"

    def counting(self, kind: ScopeKind) -> CountingScope:
        """The scope of that kind which this plan counts in."""
        return self.scopes[kind]

    @cached_property
    def scopes(self) -> Mapping[ScopeKind, CountingScope]:
        """The scopes that this plan counts in: one of each kind."""
        keys = {
            ScopeKind.PLAN: str(self.plan_id),
            ScopeKind.WORKLOAD: str(self.workload_id),
            ScopeKind.TEAM: self.team,
            ScopeKind.CLUSTER: self.cluster,
            ScopeKind.GLOBAL: "",
        }
        return {kind: CountingScope(kind, key) for kind, key in keys.items()}

    def described(self, kind: ScopeKind) -> str:
        """The scope in a sentence: "team search"."""
        match kind:
            case ScopeKind.TEAM:
                return f"team {self.team}"
            case ScopeKind.CLUSTER:
                return f"cluster {self.cluster}"
            case ScopeKind.GLOBAL:
                return "everything together"
            case _:
                return f"the {kind}"

    @property
    def _within_held(self) -> bool:
        return all(
            _unpriced(amounts).within(_unpriced(self.held.get(sku, NOTHING))) for sku, amounts in self.lines.items()
        )


def _unpriced(amounts: Amounts) -> Amounts:
    """Without the money: less of everything is a reduction also where its price went up meanwhile."""
    return replace(amounts, usd_per_hour=Decimal(0))


@dataclass(frozen=True)
class Finding:
    """One rule that a plan goes against: the field, its limit and what was observed, and a sentence.

    until: when time alone mends it, where that is known. waits_for: of what a released reservation must free some for
    it to be mended, or the capacity that a cluster must be given; nothing where neither mends it. approve_by: until
    when a person may approve the plan, which mends it; None where no person can.
    """

    policy: str
    rule: str
    field: str
    limit: str
    observed: str
    message: str
    until: datetime | None = None
    waits_for: frozenset[ScopedResource] = frozenset()
    approve_by: datetime | None = None


def reason(findings: Iterable[Finding]) -> str:
    """What was found, in a line."""
    return "; ".join(finding.message for finding in findings)


@dataclass(frozen=True)
class PolicyDecision:
    """The decision on a plan.

    determining: the policies that decided it, in their order; on approval, all that took effect. dry_run: what policies
    in that mode would have denied. waits: whether every violation may be mended by a reservation that is released, or
    by a cluster that grows. Whether a person may mend it says `approve_by`.
    """

    approved: bool
    violations: tuple[Finding, ...]
    warnings: tuple[str, ...]
    determining: tuple[str, ...]
    dry_run: tuple[Finding, ...] = ()
    waits: bool = False

    def approve_by(self, *, queue: bool) -> datetime | None:
        """Until when a person may approve the plan; None when that would not help, or none is needed.

        queue: whether the plan's workload would rather wait than be denied. Then room may come for it afterwards.
        """
        moments = [finding.approve_by for finding in self.violations if finding.approve_by is not None]
        others = [finding for finding in self.violations if finding.approve_by is None]
        if not moments or not all(queue and finding.waits_for for finding in others):
            return None
        return min(moments)


@dataclass(frozen=True)
class DecisionRecord:
    """A decision as it is stored.

    violations, dry_run: findings as recorded.finding_to_json writes them. facts: the document of recorded.to_json.
    duration_us: how long the evaluation took, in microseconds.
    """

    id: uuid.UUID
    plan_id: uuid.UUID
    workload_id: uuid.UUID
    approved: bool
    violations: Sequence[Mapping[str, Any]]
    warnings: Sequence[str]
    determining: Sequence[str]
    dry_run: Sequence[Mapping[str, Any]]
    facts: Mapping[str, Any]
    duration_us: int
    decided_at: datetime
