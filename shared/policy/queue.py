"""Which queued plan goes next when a reservation is released.

The order of the queue is (1) priority, higher first, (2) the time of queueing, (3) the plan's id.

A queued plan waits for resources of scopes, such as the H100s of a team: one for each limit that refused it when it was
last evaluated or scanned. A plan competes with a queued plan ahead of it when it takes more of such a resource than its
workload holds already, in a scope that the rules on it count in. In the GPUs of a cluster of known capacity, every plan
that takes some counts, whether it queues or not. Plans that do not compete pass each other freely: a plan without GPUs
never waits behind one that waits for GPUs.

1. A plan that fits passes the plans ahead that it competes with, and each of them is overtaken once. So small plans do
   not idle behind a large one that does not fit.
2. No plan is overtaken more than MAX_OVERTAKES times. After that it is starved: every plan that competes with it waits,
   or is denied if its workload does not queue. So what it waits for drains, and it goes next, as long as it fits an
   empty scope at all.
3. A plan may need several resources, and must not lose one while it waits for another. A plan that comes to wait for a
   new resource counts as overtaken once. A starved plan goes on waiting for all that it has missed since it starved, so
   that it keeps the room that it finds.

Plans of higher priority do not overtake: they are ahead. A plan that reduces harm, or that no rule counts, competes
with no plan. A plan that waits for its cluster to grow waits for nothing else: no release makes room for it, so no
other plan is held up for it.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from shared.models.amounts import NOTHING
from shared.models.plan import ActionPlan
from shared.policy import evaluate as evaluation
from shared.policy.decision import Finding, PlanView, PolicyDecision
from shared.policy.facts import Facts, FactsNeeded, ScopeUsage
from shared.policy.policy_set import StoredPolicy
from shared.policy.resources import ANY_GPU, CAPACITY, SUMS, Resource, ScopedResource, parse
from shared.policy.vocabulary import CountingScope, ScopeKind

MAX_OVERTAKES = 8
QUEUE_RULE = "queue"
"""The rule that a finding names when only queued plans ahead are in the way."""


@dataclass(frozen=True)
class QueueEntry:
    """A plan in the queue. waits_for: the resources that it misses. overtaken: how many plans have passed it."""

    plan_id: uuid.UUID
    priority: int
    queued_at: datetime
    overtaken: int
    waits_for: frozenset[ScopedResource]

    @classmethod
    def of(cls, plan: ActionPlan, now: datetime) -> "QueueEntry":
        """The entry of a plan; a plan that is not in the queue comes last of its priority."""
        waits_for = frozenset[ScopedResource]().union(*map(parse, plan.waits_for))
        return cls(plan.id, plan.priority, plan.queued_at or now, plan.overtaken, waits_for)

    @property
    def order(self) -> tuple[int, datetime, uuid.UUID]:
        """Sorts a queue: first goes first."""
        return (-self.priority, self.queued_at, self.plan_id)

    @property
    def starved(self) -> bool:
        """Whether no more plans may pass it."""
        return self.overtaken >= MAX_OVERTAKES

    @property
    def released_on_leaving(self) -> dict[str, None]:
        """What others may take once the plan has left the queue, by text; nobody knows how much of it is free."""
        return {str(wanted): None for wanted in self.waits_for} if self.starved else {}

    def updated(self, findings: Sequence[Finding]) -> "QueueEntry":
        """The entry after an evaluation that found these violations."""
        lacks = missing_resources(findings)
        if any(wanted.resource.name == CAPACITY for wanted in lacks):
            return replace(self, waits_for=lacks)
        if self.starved:
            return replace(self, waits_for=self.waits_for | lacks)
        held_back = any(finding.rule == QUEUE_RULE for finding in findings)
        lost = not held_back and not lacks <= self.waits_for
        return replace(self, waits_for=lacks, overtaken=self.overtaken + lost)


@dataclass(frozen=True)
class Demand:
    """What a plan takes beyond what its workload holds.

    counts_in: the scopes that the rules on it count in. capacity: the cluster whose GPUs it counts in.
    """

    view: PlanView
    counts_in: frozenset[CountingScope]
    capacity: CountingScope | None = None

    @classmethod
    def from_needs(cls, view: PlanView, needs: FactsNeeded) -> "Demand":
        """The demand of a plan whose decision needs these facts."""
        return cls(view, needs.usage, needs.capacity)

    @cached_property
    def competes(self) -> bool:
        """Whether there is anything that it could take away from somebody."""
        if self.view.reduces_harm or not (self.counts_in or self.capacity):
            return False
        more = (amounts - self.view.held.get(sku, NOTHING) for sku, amounts in self.view.lines.items())
        return any(max(extra.replicas, extra.cpu, extra.memory, extra.gpus) > 0 for extra in more)

    @cached_property
    def takes(self) -> frozenset[ScopedResource]:
        """What the plan takes more of. ANY_GPU stands for the GPUs of each SKU that neither it nor its workload has."""
        view = self.view
        if not self.competes:
            return frozenset()
        named = [Resource("gpus", sku) for sku in view.lines.keys() | view.held.keys()]
        more = [resource for resource in (*SUMS, *named) if resource.of(view.lines) > resource.of(view.held)]
        scopes = self.counts_in if self.capacity is None else self.counts_in | {self.capacity}
        found = (ScopedResource(scope, resource) for scope in scopes for resource in more)
        return frozenset(one for one in found if self._counts(one))

    @property
    def takes_any_gpu(self) -> list[ScopedResource]:
        """The scopes in which it takes GPUs of SKUs that nobody can name."""
        return [one for one in self.takes if one.resource == ANY_GPU]

    def takes_of(self, text: str) -> bool:
        """Whether the plan takes more of a resource that a queued plan waits for, as stored."""
        return any(self._takes(wanted) for wanted in parse(text))

    def contended(self, entry: QueueEntry) -> frozenset[ScopedResource]:
        """What the plan takes of the resources that a queued plan waits for."""
        return frozenset(wanted for wanted in entry.waits_for if self._takes(wanted))

    def _takes(self, wanted: ScopedResource) -> bool:
        resource = wanted.resource
        if not self.competes or not self._counts(wanted):
            return False
        return resource.of(self.view.lines) > resource.of(self.view.held)

    def _counts(self, wanted: ScopedResource) -> bool:
        return wanted.scope in self.counts_in or (wanted.scope == self.capacity and wanted.resource.name == "gpus")


def missing_resources(findings: Iterable[Finding]) -> frozenset[ScopedResource]:
    """What must be released before the violations can end, or the capacity that the cluster must gain first."""
    wanted = frozenset[ScopedResource]().union(*(finding.waits_for for finding in findings))
    return frozenset(one for one in wanted if one.resource.name == CAPACITY) or wanted


def competitors_ahead(queue: Iterable[QueueEntry], mine: QueueEntry, demand: Demand) -> list[QueueEntry]:
    """The entries ahead of `mine` that its plan competes with, in the order of the queue."""
    return sorted(
        (entry for entry in queue if entry.order < mine.order and demand.contended(entry)),
        key=lambda entry: entry.order,
    )


def blocking_finding(earlier: Sequence[QueueEntry], demand: Demand) -> Finding | None:
    """The first starved plan of those ahead, as a violation: this plan waits for it, though it would fit."""
    starved = next((entry for entry in earlier if entry.starved), None)
    if starved is None:
        return None
    contended = demand.contended(starved)
    message = (
        f"plan {starved.plan_id} was overtaken {starved.overtaken} times and goes first; "
        f"this plan would take {', '.join(sorted(map(str, contended)))}, which it waits for"
    )
    return Finding("", QUEUE_RULE, "queue", "", "", message, waits_for=contended)


def held_back(decision: PolicyDecision, blocking: Finding) -> PolicyDecision:
    """The decision on a plan that would be approved, if it were not behind a starved one."""
    return replace(decision, approved=False, violations=(blocking,), waits=True)


def left_of(released: Mapping[str, int | None], approved: Iterable[PlanView]) -> dict[str, int | None]:
    """What is left of released resources once these plans have taken what they need; None is not known, and lasts.

    What is used up lets no more plans go on than could before. Raises ValueError for a text that is no resource.
    """
    left = dict(released)
    views = list(approved)
    for text, amount in released.items():
        if amount is not None:
            left[text] = amount - sum(_taken(view, wanted) for wanted in parse(text) for view in views)
    return {text: amount for text, amount in left.items() if amount is None or amount > 0}


def _taken(view: PlanView, wanted: ScopedResource) -> int:
    if wanted.scope not in view.scopes.values():
        return 0
    return wanted.resource.of(view.lines) - wanted.resource.of(view.held)


class QueueScan:
    """One pass through the queue in its order. A plan is evaluated as if the ones found before it were approved.

    A scan decides nothing: each plan that it finds is evaluated on its own, with everything that it counts in locked.
    """

    def __init__(self) -> None:
        self.approved: dict[uuid.UUID, PlanView] = {}
        """The plans that would be approved, by id."""
        self._foreseen: dict[CountingScope, list[PlanView]] = {}

    def evaluate(self, view: PlanView, policies: Sequence[StoredPolicy], facts: Facts, now: datetime) -> PolicyDecision:
        """The decision that this plan would get but for the queue. policies: those that match, in their order."""
        return evaluation.evaluate(view, policies, self._with_foreseen_approvals(facts), now)

    def approve(self, view: PlanView) -> None:
        """Counts a plan that no starved one holds back either."""
        self.approved[view.plan_id] = view
        for kind in ScopeKind:
            self._foreseen.setdefault(view.counting(kind), []).append(view)

    def _with_foreseen_approvals(self, facts: Facts) -> Facts:
        """The facts as if the plans that this scan has found were approved already."""
        usage = dict(facts.usage)
        for scope, known in usage.items():
            by_sku = dict(known.by_sku)
            for view in self._foreseen.get(scope, ()):
                for sku in view.lines.keys() | view.held.keys():
                    change = view.lines.get(sku, NOTHING) - view.held.get(sku, NOTHING)
                    by_sku[sku] = by_sku.get(sku, NOTHING) + change
            usage[scope] = ScopeUsage(by_sku, known.month_to_date_usd)
        return replace(facts, usage=usage)
