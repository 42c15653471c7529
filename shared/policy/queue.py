"""Who goes next when a reservation is released.

The order of the queue is (1) priority, higher first, (2) the time of queueing, (3) the plan's id.

What is waited for is a resource of a scope, such as the H100s of a team: each limit that refused the plan when it was
last looked at, by its own decision or by a cue. A plan competes with one ahead of it when it takes more of something
that the one ahead waits for than its workload holds already, in a scope that the rules on it count in. In the GPUs of
a cluster of known capacity every plan counts that takes some, whether it queues or not. Plans that do not compete pass
each other freely: those that need no GPU never wait behind one that waits for GPUs.

1. A plan that fits is let past those ahead that it competes with, and each of them is overtaken once: small plans do
   not idle behind a large one that does not fit.
2. No plan is overtaken more than MAX_OVERTAKES times: after that it is starved, and everything that competes with it
   waits, or is denied if its workload does not queue. What it waits for drains, and it goes next, as long as it fits
   an empty scope at all.
3. So that what a plan needs is not taken away in turns, one resource while it waits for another: who comes to wait for
   something that it did not wait for before is overtaken once by that; and who is starved waits for all that it lacked
   since, so that it keeps the room that it finds.

Plans of higher priority do not overtake: they are ahead. A plan that reduces harm, or that nothing counts, competes
with nobody. Who waits for its cluster to grow waits for nothing else: no release makes room for it, and so nobody can
be held up to make some.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from shared.models.amounts import NOTHING
from shared.models.plan import ActionPlan
from shared.policy.decision import Finding, PlanView, PolicyDecision
from shared.policy.evaluate import evaluate
from shared.policy.facts import Facts, Needs, ScopeUsage
from shared.policy.policy_set import StoredPolicy
from shared.policy.resources import CAPACITY, ScopedResource, parse
from shared.policy.vocabulary import CountingScope, ScopeKind

MAX_OVERTAKES = 8
QUEUE_RULE = "queue"
"""What a finding names as its rule when only those that wait ahead are in the way."""


@dataclass(frozen=True)
class QueueEntry:
    """A place in the queue. waits_for: what the plan lacks."""

    plan_id: uuid.UUID
    priority: int
    queued_at: datetime
    overtaken: int
    waits_for: frozenset[ScopedResource]

    @classmethod
    def of(cls, plan: ActionPlan, now: datetime) -> "QueueEntry":
        """A plan's place; one that is not in the queue would come last of its priority."""
        waits_for = frozenset[ScopedResource]().union(*map(parse, plan.waits_for))
        return cls(plan.id, plan.priority, plan.queued_at or now, plan.overtaken, waits_for)

    @property
    def order(self) -> tuple[int, datetime, uuid.UUID]:
        """Sorts a queue: first goes first."""
        return (-self.priority, self.queued_at, self.plan_id)

    @property
    def starved(self) -> bool:
        """Whether it was overtaken often enough."""
        return self.overtaken >= MAX_OVERTAKES

    def updated(self, findings: Sequence[Finding]) -> "QueueEntry":
        """The place of a plan that goes on waiting, after another look that found these in its way."""
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
    def on(cls, view: PlanView, needs: Needs) -> "Demand":
        """What a plan takes of what is looked at to decide it."""
        return cls(view, needs.usage, needs.capacity)

    @cached_property
    def competes(self) -> bool:
        """Whether there is anything that it could take away from somebody."""
        if self.view.reduces or not (self.counts_in or self.capacity):
            return False
        more = (amounts - self.view.held.get(sku, NOTHING) for sku, amounts in self.view.lines.items())
        return any(max(extra.replicas, extra.cpu, extra.memory, extra.gpus) > 0 for extra in more)

    def of(self, place: QueueEntry) -> frozenset[ScopedResource]:
        """What it takes of that for which a plan waits."""
        return frozenset(wanted for wanted in place.waits_for if self._takes(wanted))

    def _takes(self, wanted: ScopedResource) -> bool:
        resource = wanted.resource
        if not self.competes or not self._counts(wanted):
            return False
        return resource.of(self.view.lines) > resource.of(self.view.held)

    def _counts(self, wanted: ScopedResource) -> bool:
        return wanted.scope in self.counts_in or (wanted.scope == self.capacity and wanted.resource.name == "gpus")


def missing_resources(findings: Iterable[Finding]) -> frozenset[ScopedResource]:
    """Of what something must be released before the findings can be mended, or the capacity that must come first."""
    wanted = frozenset[ScopedResource]().union(*(finding.waits_for for finding in findings))
    return frozenset(one for one in wanted if one.resource.name == CAPACITY) or wanted


def competitors_ahead(queue: Iterable[QueueEntry], mine: QueueEntry, demand: Demand) -> list[QueueEntry]:
    """The places ahead of `mine` that its plan competes with, first goes first."""
    return sorted(
        (place for place in queue if place.order < mine.order and demand.of(place)),
        key=lambda place: place.order,
    )


def blocking_finding(earlier: Sequence[QueueEntry], demand: Demand) -> Finding | None:
    """Who must go first, the first starved one of those ahead that compete: the plan waits, though it would fit."""
    starved = next((place for place in earlier if place.starved), None)
    if starved is None:
        return None
    contended = demand.of(starved)
    message = (
        f"plan {starved.plan_id} was overtaken {starved.overtaken} times and goes first; "
        f"this plan would take {', '.join(sorted(map(str, contended)))}, which it waits for"
    )
    return Finding("", QUEUE_RULE, "queue", "", "", message, waits_for=contended)


class QueueScan:
    """One look through the queue in its order: who would be approved if those found before were.

    Decides nothing: a plan that was found here is decided on its own, with everything that it counts in locked.
    """

    def __init__(self, queue: Iterable[QueueEntry]) -> None:
        self._starved = [place for place in queue if place.starved]
        self._promised: dict[CountingScope, list[PlanView]] = {}

    def look(
        self, place: QueueEntry, demand: Demand, policies: Sequence[StoredPolicy], facts: Facts, now: datetime
    ) -> PolicyDecision:
        """What would be decided on the plan at this place; `policies` are those that match, in their order.

        Who is held back by a starved plan that does not fit either is not approved: it would only hear that again.
        """
        view = demand.view
        decision = evaluate(view, policies, self._with_promises(facts), now)
        if not decision.approved:
            return decision
        held_back = blocking_finding(competitors_ahead(self._starved, place, demand), demand)
        if held_back is not None:
            return replace(decision, approved=False, violations=(held_back,), waits=True)
        self._starved = [other for other in self._starved if other.plan_id != place.plan_id]
        for kind in ScopeKind:
            self._promised.setdefault(view.counting(kind), []).append(view)
        return decision

    def _with_promises(self, facts: Facts) -> Facts:
        """The facts as if the plans that were found before were approved already."""
        usage = dict(facts.usage)
        for scope, known in usage.items():
            by_sku = dict(known.by_sku)
            for view in self._promised.get(scope, ()):
                for sku in view.lines.keys() | view.held.keys():
                    change = view.lines.get(sku, NOTHING) - view.held.get(sku, NOTHING)
                    by_sku[sku] = by_sku.get(sku, NOTHING) + change
            usage[scope] = ScopeUsage(by_sku, known.month_to_date_usd)
        return replace(facts, usage=usage)
