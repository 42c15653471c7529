"""A queue before quotas and clusters, in memory, driven by the rules that the deciding function goes by.

Quotas and capacity are evaluated.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from shared.models.amounts import NOTHING, Amounts
from shared.policy.decision import Finding, PlanView, PolicyDecision
from shared.policy.evaluate import facts_needed
from shared.policy.facts import Facts, ScopeUsage
from shared.policy.policy_set import PolicySet, StoredPolicy
from shared.policy.queue import (
    Demand,
    QueueEntry,
    QueueScan,
    blocking_finding,
    competitors_ahead,
    held_back,
    missing_resources,
)
from shared.policy.resources import CAPACITY, ScopedResource
from shared.policy.vocabulary import CountingScope, ScopeKind
from tests.support.policies import COUNTED, NOW, decide, view

Lines = Mapping[str, Amounts]


def gpus(count: int, sku: str = "H100", cpu: int = 1) -> Lines:
    """As many replicas with a GPU and `cpu` cores each."""
    return {sku: Amounts(count, 1000 * cpu * count, 0, count)}


def cores(count: int) -> Lines:
    """As many replicas with a core each."""
    return {"": Amounts(count, 1000 * count)}


def foresee(
    scan: QueueScan,
    queue: Iterable[QueueEntry],
    entry: QueueEntry,
    demand: Demand,
    policies: list[StoredPolicy],
    facts: Facts,
) -> PolicyDecision:
    """What a scan says to the next plan of the queue."""
    decision = scan.evaluate(demand.view, policies, facts, NOW)
    if not decision.approved:
        return decision
    ahead = competitors_ahead([one for one in queue if one.plan_id not in scan.approved], entry, demand)
    if (blocking := blocking_finding(ahead, demand)) is not None:
        return held_back(decision, blocking)
    scan.approve(demand.view)
    return decision


@dataclass
class Waiting:
    """A plan in the queue. overtaken: how often a competitor was let past it, counted by its own notion of that."""

    place: QueueEntry
    view: PlanView
    overtaken: int = 0


@dataclass
class Platform:
    """What runs, by workload, and who waits, by plan. capacity: the GPUs of the clusters of which that is known."""

    policies: list[StoredPolicy]
    capacity: dict[str, dict[str, int]] = field(default_factory=dict)
    running: dict[uuid.UUID, PlanView] = field(default_factory=dict)
    waiting: dict[uuid.UUID, Waiting] = field(default_factory=dict)
    clock: int = 0

    def arrive(self, lines: Lines, priority: int = 0, overtaken: int = 0, **fields: object) -> uuid.UUID:
        """A plan comes, and runs or waits. overtaken: how often that happened to it before. Its workload's id."""
        self.clock += 1
        fields = {"workload_id": uuid.UUID(int=self.clock), "queue": True, **fields}
        plan = self.as_held(view(plan_id=uuid.UUID(int=self.clock), lines=lines, **fields))
        for other in [one for one in self.waiting.values() if one.view.workload_id == plan.workload_id]:
            del self.waiting[other.place.plan_id]
        place = QueueEntry(plan.plan_id, priority, NOW + timedelta(seconds=self.clock), overtaken, frozenset())
        decision = self._decide(place, plan)
        if decision.waits and plan.queue:
            self.waiting[plan.plan_id] = Waiting(replace(place, waits_for=missing_resources(decision.violations)), plan)
        self.cue()
        return plan.workload_id

    def end(self, workload_id: uuid.UUID) -> None:
        """Releases what a workload holds."""
        del self.running[workload_id]
        self.cue()

    def cue(self) -> None:
        """Looks through the queue until it finds nothing more, and decides what it finds: each time, some leave."""
        while found := self.found():
            before = len(self.waiting)
            for plan_id in found:
                one = self.waiting.pop(plan_id)
                decision = self._decide(one.place, self.as_held(one.view))
                if decision.waits:
                    self.waiting[plan_id] = replace(one, place=one.place.updated(decision.violations))
            assert len(self.waiting) < before

    def found(self) -> list[uuid.UUID]:
        """The plans that a cue has decided again; of the others, what they wait for is noted."""
        queue = sorted(self.waiting.values(), key=lambda one: one.place.order)
        cue = QueueScan()
        found: list[uuid.UUID] = []
        for one in queue:
            plan = self.as_held(one.view)
            decision = foresee(
                cue,
                [other.place for other in queue],
                one.place,
                self.demand(plan),
                self.matching(plan),
                self.facts(plan),
            )
            if decision.approved or not decision.waits:
                found.append(one.place.plan_id)
            else:
                one.place = one.place.updated(decision.violations)
        return found

    def judge(self, plan: PlanView) -> PolicyDecision:
        """What the quotas and its cluster alone say to it now."""
        return decide(plan, self.policies, self.facts(plan))

    def matching(self, plan: PlanView) -> list[StoredPolicy]:
        return list(PolicySet(self.policies).matching(plan, NOW))

    def demand(self, plan: PlanView) -> Demand:
        return Demand.from_needs(plan, facts_needed(plan, self.matching(plan), capped=self.capped(plan)))

    def capped(self, plan: PlanView) -> bool:
        """Whether it takes GPUs of a cluster of known capacity, and queues or finds somebody waiting there."""
        scope = plan.counting(ScopeKind.CLUSTER)
        waited_for = any(wanted.scope == scope for one in self.waiting.values() for wanted in one.place.waits_for)
        more = any(lines.gpus > plan.held.get(sku, NOTHING).gpus for sku, lines in plan.lines.items())
        return more and plan.cluster in self.capacity and (plan.queue or waited_for)

    def facts(self, plan: PlanView) -> Facts:
        usage = {plan.counting(kind): ScopeUsage(self.held(plan.counting(kind))) for kind in COUNTED}
        return Facts(usage, capacity=self.capacity.get(plan.cluster))

    def held(self, scope: CountingScope) -> dict[str, Amounts]:
        """What the workloads in a scope hold."""
        by_sku: dict[str, Amounts] = {}
        for plan in self.running.values():
            if plan.counting(scope.kind) == scope:
                for sku, amounts in plan.lines.items():
                    by_sku[sku] = by_sku.get(sku, NOTHING) + amounts
        return by_sku

    def starved_competitors(self, place: QueueEntry, plan: PlanView) -> list[QueueEntry]:
        """Those ahead that may not be overtaken any more, and wait for something of which the plan takes more."""
        return [
            other.place
            for other in self.waiting.values()
            if other.place.starved
            and other.place.order < place.order
            and any(self.takes(plan, wanted) for wanted in other.place.waits_for)
        ]

    def takes(self, plan: PlanView, wanted: ScopedResource) -> bool:
        """Whether a plan takes more of something than its workload holds: added up here, as the contract says."""
        name, sku = wanted.resource.name, wanted.resource.sku

        def total(lines: Lines) -> int:
            return sum(getattr(amounts, name) for of, amounts in lines.items() if sku is None or of in (sku, ""))

        counted = {plan.counting(kind) for policy in self.matching(plan) for kind in _kinds(policy)}
        if name == "gpus" and plan.cluster in self.capacity:
            counted.add(plan.counting(ScopeKind.CLUSTER))
        return wanted.scope in counted and name != CAPACITY and total(plan.lines) > total(plan.held)

    def as_held(self, plan: PlanView) -> PlanView:
        """The plan with what its workload holds now."""
        runs = self.running.get(plan.workload_id)
        return replace(plan, held={} if runs is None else runs.lines)

    def _decide(self, place: QueueEntry, plan: PlanView) -> PolicyDecision:
        """As the deciding function does: quotas and capacity first, and then those ahead."""
        decision = self.judge(plan)
        if not decision.approved:
            return decision
        demand = self.demand(plan)
        earlier = competitors_ahead([one.place for one in self.waiting.values()], place, demand)
        blocking = blocking_finding(earlier, demand)
        if blocking is not None:
            return _held_back(decision, blocking)
        for other in self.waiting.values():
            if other.place.order < place.order:
                other.overtaken += any(self.takes(plan, wanted) for wanted in other.place.waits_for)
        for place_ahead in earlier:
            one = self.waiting[place_ahead.plan_id]
            one.place = replace(one.place, overtaken=one.place.overtaken + 1)
        self.running[plan.workload_id] = plan
        return decision


def _held_back(decision: PolicyDecision, blocking: Finding) -> PolicyDecision:
    return replace(decision, approved=False, violations=(blocking,), waits=True)


def _kinds(policy: StoredPolicy) -> Iterable[ScopeKind]:
    assert policy.document is not None
    return policy.document.fact_kinds.usage
