"""What rules are held against: a plan, the facts about it, and the time. Every rule of a decision shares one.

What several rules ask for, such as what a team will hold once the plan is done, is worked out once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from shared.models.amounts import NOTHING, Amounts
from shared.policy.decision import PlanView
from shared.policy.facts import Facts, ScopeUsage
from shared.policy.resources import Resource, ScopedResource
from shared.policy.vocabulary import ScopeKind


class MissingFact(Exception):
    """A fact that a rule rests on is not known, or too old; the message says which."""


@dataclass(frozen=True)
class Holdings:
    """What a scope holds, by GPU SKU and together, and what it has cost this month so far in US dollars."""

    by_sku: Mapping[str, Amounts]
    total: Amounts
    month_to_date_usd: Decimal = Decimal(0)

    def of(self, resource: Resource) -> int:
        """How much of a resource it is."""
        if resource.sku is not None:
            return resource.of(self.by_sku)
        amount: int = getattr(self.total, resource.name)
        return amount


class EvaluationContext:
    """A plan, the facts about it, and now."""

    def __init__(self, plan: PlanView, facts: Facts, now: datetime) -> None:
        self.plan = plan
        self.facts = facts
        self.now = now
        self.price_age = None if facts.priced_on is None else now.astimezone(UTC).date() - facts.priced_on
        self.takes = Holdings(plan.lines, _total(plan.lines))
        self._after: dict[ScopeKind, Holdings] = {ScopeKind.PLAN: self.takes}

    def before(self, kind: ScopeKind) -> ScopeUsage:
        """What the plan's scope of that kind holds now. Raises MissingFact when that is not known."""
        if kind is ScopeKind.PLAN:
            return ScopeUsage({})
        known = self.facts.usage.get(self.plan.counting(kind))
        if known is None:
            raise MissingFact(f"the usage of {self.plan.described(kind)} is not known")
        return known

    def after(self, kind: ScopeKind) -> Holdings:
        """What the scope will hold once the plan holds its own. Raises MissingFact."""
        if kind not in self._after:
            self._after[kind] = self._replaced(self.before(kind))
        return self._after[kind]

    def waits_for(self, kind: ScopeKind, resource: Resource) -> frozenset[ScopedResource]:
        """Of what a release may make room; a plan's own is never released."""
        if kind is ScopeKind.PLAN:
            return frozenset()
        return frozenset([ScopedResource(self.plan.counting(kind), resource)])

    def _replaced(self, known: ScopeUsage) -> Holdings:
        """With what the plan takes in the place of what its workload holds; others never hold less than nothing."""
        held, by_sku = self.plan.held, dict(known.by_sku)
        for sku, amounts in held.items():
            by_sku[sku] = (by_sku.get(sku, NOTHING) - amounts).largest(NOTHING)
        for sku, amounts in self.plan.lines.items():
            by_sku[sku] = by_sku[sku] + amounts if sku in by_sku else amounts
        return Holdings(by_sku, _total(by_sku), known.month_to_date_usd)


def _total(by_sku: Mapping[str, Amounts]) -> Amounts:
    """The sum; of one it is that one, which is the usual case on the way of every decision."""
    amounts = list(by_sku.values())
    return sum(amounts[1:], amounts[0]) if amounts else NOTHING
