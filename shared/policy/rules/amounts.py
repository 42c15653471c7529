"""cost_ceiling and quota: limits on what a scope costs and holds. All that is reserved, approved or running counts.

A plan that reaches a limit exactly passes. A limit binds only plans that take some of what it counts: a team over its
quota of GPUs may still run workloads without GPUs. A request for any GPU counts against the quota of every SKU.

The cost of a calendar month (UTC) is projected: the cost so far, plus the cost until the month ends if nothing changes
after this plan. Example: 300 USD by noon of the 15th and 1 USD an hour from then on is 672 USD in a month of 30 days.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from shared.models.fields import Bytes, Millicores
from shared.models.gpu import normalise_sku
from shared.models.quantities import format_bytes, format_millicores
from shared.policy.context import EvaluationContext, Holdings, MissingFact
from shared.policy.facts import FactKinds
from shared.policy.months import cost, next_month
from shared.policy.resources import SUMS, Resource
from shared.policy.rules.base import ExceededLimit, RuleModel
from shared.policy.vocabulary import Age, Count, ScopeKind, Sku, Usd

PRICES_GO_STALE = timedelta(days=3 * 365)
_MINUTE = timedelta(minutes=1)
_A_YEAR = 12


def _one_spelling_each(value: object) -> object:
    names = [normalise_sku(key) for key in value if isinstance(key, str)] if isinstance(value, dict) else []
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"names {', '.join(twice)} twice, in different spellings")
    return value


class CostCeiling(RuleModel):
    """No more than this many US dollars an hour, or projected for the month, in the scope."""

    type: Literal["cost_ceiling"]
    scope: ScopeKind = ScopeKind.WORKLOAD
    usd_per_hour: Usd | None = None
    usd_per_month: Usd | None = None
    max_price_age: Age = PRICES_GO_STALE

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.usd_per_hour is None and self.usd_per_month is None:
            raise ValueError("a cost_ceiling needs usd_per_hour, usd_per_month, or both")
        return self

    def fact_kinds(self) -> FactKinds:
        return FactKinds(usage=_counted(self.scope), prices=True)

    def check(self, context: EvaluationContext) -> Iterator[ExceededLimit]:
        self._fresh_prices(context)
        after = context.after(self.scope)
        hourly = after.total.usd_per_hour
        if not context.takes.total.usd_per_hour:
            return
        if self.usd_per_hour is not None and hourly > self.usd_per_hour:
            where = context.plan.described(self.scope)
            amount = _usd_text(hourly, self.usd_per_hour)
            message = f"{where} would cost {amount} USD an hour; its ceiling is {self.usd_per_hour:f}"
            yield ExceededLimit("usd_per_hour", f"{self.usd_per_hour:f}", f"{hourly:f}", message)
        if self.usd_per_month is not None:
            left = next_month(context.now) - context.now
            projected = after.month_to_date_usd + cost(hourly, left)
            if projected > self.usd_per_month:
                where = context.plan.described(self.scope)
                amount = _usd_text(projected, self.usd_per_month)
                message = f"{where} would cost {amount} USD this month; its ceiling is {self.usd_per_month:f}"
                until = self._affordable_from(context, after, projected, self.usd_per_month)
                yield ExceededLimit("usd_per_month", f"{self.usd_per_month:f}", f"{projected:.6f}", message, until)

    def _affordable_from(
        self, context: EvaluationContext, after: Holdings, projected: Decimal, ceiling: Decimal
    ) -> datetime | None:
        """When a month, this one or one of a year, has so little left that the projection passes.

        That is if nothing else changes; None where what runs is too dear by itself.
        """
        before = context.before(self.scope).by_sku.values()
        hourly = after.total.usd_per_hour
        added = hourly - sum((amounts.usd_per_hour for amounts in before), Decimal(0))
        begun = context.now
        for _ in range(1 + _A_YEAR):
            following = next_month(begun)
            excess = projected - ceiling
            if excess <= 0:
                return begun
            if added > 0:
                minutes = (excess / added * 60).to_integral_value(ROUND_CEILING)
                if minutes < (following - begun) / _MINUTE:
                    return begun + int(minutes) * _MINUTE
            begun, projected = following, cost(hourly, next_month(following) - following)
        return None

    def _fresh_prices(self, context: EvaluationContext) -> None:
        age = context.price_age
        if age is None:
            raise MissingFact("the price of the workload is not known")
        if age > self.max_price_age:
            raise MissingFact(f"a price is {age.days} days old; at most {self.max_price_age.days} are allowed")


class Quota(RuleModel):
    """No more than these amounts in the scope."""

    type: Literal["quota"]
    scope: ScopeKind = ScopeKind.TEAM
    replicas: Count | None = None
    cpu: Millicores | None = None
    memory: Bytes | None = None
    gpus: Count | None = None
    gpus_by_sku: Annotated[dict[Sku, Count], BeforeValidator(_one_spelling_each)] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.replicas is self.cpu is self.memory is self.gpus is None and not self.gpus_by_sku:
            raise ValueError("a quota needs at least one of replicas, cpu, memory, gpus, gpus_by_sku")
        return self

    def fact_kinds(self) -> FactKinds:
        return FactKinds(usage=_counted(self.scope))

    @cached_property
    def limits(self) -> tuple[tuple[Resource, int], ...]:
        """The limits that are set."""
        sums = [(resource, getattr(self, resource.name)) for resource in SUMS]
        skus = [(Resource("gpus", sku), limit) for sku, limit in self.gpus_by_sku.items()]
        return tuple((resource, limit) for resource, limit in [*sums, *skus] if limit is not None)

    def check(self, context: EvaluationContext) -> Iterator[ExceededLimit]:
        takes, after = context.takes, context.after(self.scope)
        for resource, limit in self.limits:
            observed = after.of(resource)
            if observed > limit and (own := takes.of(resource)):
                yield self._exceeded(context, resource, limit, own, observed)

    def _exceeded(
        self, context: EvaluationContext, resource: Resource, limit: int, own: int, observed: int
    ) -> ExceededLimit:
        """own: what the plan alone holds; when that is too much, no release makes room for it."""
        noun, text = _WORDS[resource.name]
        field = resource.name
        if resource.sku is not None:
            noun, field = f"{resource.sku} {noun}", f"gpus_by_sku.{resource.sku}"
        where = context.plan.described(self.scope)
        message = f"{where} would hold {text(observed)} {noun}; its quota is {text(limit)}"
        waits_for = context.waits_for(self.scope, resource) if own <= limit else frozenset()
        return ExceededLimit(field, text(limit), text(observed), message, waits_for=waits_for)


_WORDS: dict[str, tuple[str, Callable[[int], str]]] = {
    "replicas": ("replicas", str),
    "cpu": ("CPU", format_millicores),
    "memory": ("memory", format_bytes),
    "gpus": ("GPUs", str),
}


def _counted(scope: ScopeKind) -> frozenset[ScopeKind]:
    return frozenset(() if scope is ScopeKind.PLAN else (scope,))


def _usd_text(usd: Decimal, ceiling: Decimal) -> str:
    """The amount in cents, or in full where cents would read as the ceiling itself."""
    return f"{usd:.2f}" if round(usd, 2) > ceiling else f"{usd:f}"
