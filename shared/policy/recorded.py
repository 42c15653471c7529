"""A decision's plan and facts as they are kept beside it: to be read by people, and to be replayed by a backtest."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from pydantic import JsonValue, TypeAdapter

from shared.models.amounts import Amounts
from shared.models.plan import Verb
from shared.policy.decision import Finding, PlanView
from shared.policy.facts import ActionQuery, Facts, ScopeUsage, ServiceLevel
from shared.policy.vocabulary import CountingScope


@dataclass(frozen=True)
class _Usage:
    scope: CountingScope
    by_sku: dict[str, Amounts]
    month_to_date_usd: Decimal


@dataclass(frozen=True)
class _Actions:
    scope: CountingScope
    verbs: tuple[Verb, ...]
    window: timedelta
    times: tuple[datetime, ...]
    most: int | None = None
    skip: int = 0


@dataclass(frozen=True)
class _Service:
    window: timedelta
    level: ServiceLevel


@dataclass(frozen=True)
class Recorded:
    """What a decision rested on, in a form that survives as JSON.

    waits: whether what was found lets the plan wait. awaits_approval: whether the plan awaits a person's approval.
    """

    now: datetime
    plan: PlanView
    usage: tuple[_Usage, ...]
    actions: tuple[_Actions, ...]
    service: tuple[_Service, ...]
    priced_on: date | None
    waits: bool = False
    capacity: dict[str, int] | None = None
    awaits_approval: bool = False

    @property
    def facts(self) -> Facts:
        """The facts, as the evaluation takes them."""
        return Facts(
            {u.scope: ScopeUsage(u.by_sku, u.month_to_date_usd) for u in self.usage},
            {ActionQuery(a.scope, a.verbs, a.window, a.most, a.skip): a.times for a in self.actions},
            {s.window: s.level for s in self.service},
            self.priced_on,
            self.capacity,
        )


_MOMENT: TypeAdapter[datetime] = TypeAdapter(datetime)
_ADAPTER: TypeAdapter[Recorded] = TypeAdapter(Recorded)


def to_json(
    plan: PlanView, facts: Facts, now: datetime, *, waits: bool = False, awaits_approval: bool = False
) -> dict[str, JsonValue]:
    """The document to keep with a decision; `facts` may hold more than it needed."""
    recorded = Recorded(
        now,
        plan,
        tuple(_Usage(scope, dict(u.by_sku), u.month_to_date_usd) for scope, u in facts.usage.items()),
        tuple(_Actions(q.scope, q.verbs, q.window, times, q.most, q.skip) for q, times in facts.actions.items()),
        tuple(_Service(window, level) for window, level in facts.service.items()),
        facts.priced_on,
        waits,
        None if facts.capacity is None else dict(facts.capacity),
        awaits_approval,
    )
    document: dict[str, JsonValue] = _ADAPTER.dump_python(recorded, mode="json")
    return document


def from_json(document: Mapping[str, JsonValue]) -> Recorded:
    """Raises pydantic.ValidationError for a document that this version cannot read."""
    return _ADAPTER.validate_python(document)


def finding_to_json(finding: Finding) -> dict[str, JsonValue]:
    """A finding as it is kept beside its decision; what a plan waits for is kept with the plan."""
    return {
        "policy": finding.policy,
        "rule": finding.rule,
        "field": finding.field,
        "limit": finding.limit,
        "observed": finding.observed,
        "message": finding.message,
        "until": None if finding.until is None else _MOMENT.dump_python(finding.until, mode="json"),
    }
