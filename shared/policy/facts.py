"""The facts that rules read. They are loaded for one decision, in its transaction.

Every fact is Sentinel's own: the ledger, the price catalogue, the log of actions, ingested telemetry. A fact
that is absent is not known, and an enforcing rule then denies.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from shared.models.amounts import NOTHING, Amounts
from shared.models.plan import Verb
from shared.policy.months import cost, month_start
from shared.policy.vocabulary import CountingScope, ScopeKind


@dataclass(frozen=True)
class ScopeUsage:
    """What a scope holds, by GPU SKU, and what it has cost in this calendar month (UTC) so far, in US dollars."""

    by_sku: Mapping[str, Amounts]
    month_to_date_usd: Decimal = Decimal(0)

    def at(self, moment: datetime, now: datetime) -> "ScopeUsage":
        """What it will be at a later moment if it stays as it is `now`."""
        hourly = sum((amounts.usd_per_hour for amounts in self.by_sku.values()), Decimal(0))
        begun = month_start(moment)
        if begun > now:
            return replace(self, month_to_date_usd=cost(hourly, moment - begun))
        return replace(self, month_to_date_usd=self.month_to_date_usd + cost(hourly, moment - now))


@dataclass(frozen=True)
class ActionQuery:
    """The approved actions of a scope in a window that ends now; no verbs means any.

    skip: how many of the newest are passed over: of a high limit only the action that uses it up is of interest. most:
    how many of the newest behind those are enough, None for all. Two queries that differ in `most` alone ask for the
    same fact.
    """

    scope: CountingScope
    verbs: tuple[Verb, ...]
    window: timedelta
    most: int | None = field(default=None, compare=False)
    skip: int = 0

    def is_answered_by(self, other: "ActionQuery", found: int) -> bool:
        """Whether the `found` actions of the same fact, asked for by another query, are enough for this one."""
        return other.most is None or found < other.most or (self.most is not None and self.most <= other.most)


@dataclass(frozen=True)
class ServiceLevel:
    """What telemetry says of a workload over one window.

    uptime: the mean of the samples of `up`, None without any. requests, errors: sums. latency_seconds: by percentile,
    the mean of the samples weighted by their requests. newest: when PostgreSQL received the newest sample.
    """

    uptime: float | None
    requests: float
    errors: float
    latency_seconds: Mapping[int, float]
    newest: datetime | None


ActionKind = tuple[ScopeKind, tuple[Verb, ...], timedelta, int]
"""The actions with one of these verbs, in the plan's scope of that kind, in a window that ends now, without so many of
the newest.
"""


@dataclass(frozen=True)
class FactKinds:
    """The kinds of facts that a rule reads, whatever the plan is. actions: and how many of the newest are enough."""

    usage: frozenset[ScopeKind] = frozenset()
    actions: Mapping[ActionKind, int] = field(default_factory=dict)
    windows: frozenset[timedelta] = frozenset()
    prices: bool = False


def most_of(wanted: Iterable[Mapping[ActionKind, int]]) -> dict[ActionKind, int]:
    """How many of the newest actions are enough for all of several rules."""
    most: dict[ActionKind, int] = {}
    for one in wanted:
        for kind, count in one.items():
            most[kind] = max(count, most.get(kind, 0))
    return most


@dataclass(frozen=True)
class FactsNeeded:
    """The facts to load for one plan.

    usage: of the scopes that the rules count in. capacity: the cluster whose GPUs it counts in; see
    shared.policy.capacity.
    """

    usage: frozenset[CountingScope] = frozenset()
    actions: frozenset[ActionQuery] = frozenset()
    windows: frozenset[timedelta] = frozenset()
    prices: bool = False
    capacity: CountingScope | None = None

    @property
    def counted(self) -> frozenset[CountingScope]:
        """The scopes whose usage is wanted."""
        return self.usage if self.capacity is None else self.usage | {self.capacity}

    @property
    def locked(self) -> frozenset[CountingScope]:
        """The scopes that must not change between reading and committing."""
        return self.counted | {query.scope for query in self.actions}


@dataclass(frozen=True)
class Facts:
    """What is known.

    actions: the times of the newest actions, oldest first, without those that the query skips; some may be older than
    the window. priced_on: the oldest
    price that the plan's cost rests on. capacity: the GPUs of the plan's cluster by SKU, None when that is not known.
    """

    usage: Mapping[CountingScope, ScopeUsage] = field(default_factory=dict)
    actions: Mapping[ActionQuery, tuple[datetime, ...]] = field(default_factory=dict)
    service: Mapping[timedelta, ServiceLevel] = field(default_factory=dict)
    priced_on: date | None = None
    capacity: Mapping[str, int] | None = None

    def released(self, lines: Mapping[str, Amounts]) -> "Facts":
        """What is known once the plan's workload has given up these lines on another cluster."""
        usage = dict(self.usage)
        for scope, known in self.usage.items():
            if scope.kind is not ScopeKind.CLUSTER:
                left = {sku: amounts - lines.get(sku, NOTHING) for sku, amounts in known.by_sku.items()}
                usage[scope] = replace(known, by_sku={sku: held for sku, held in left.items() if held != NOTHING})
        return replace(self, usage=usage)

    def at(self, moment: datetime, now: datetime) -> "Facts":
        """What will be known at a later moment if nothing happens between `now` and then.

        What runs goes on to cost what it costs, telemetry goes on to say what it says. Actions stay: rules look at
        their window alone.
        """
        passed = moment - now
        return replace(
            self,
            usage={scope: usage.at(moment, now) for scope, usage in self.usage.items()},
            service={
                window: replace(level, newest=level.newest and level.newest + passed)
                for window, level in self.service.items()
            },
        )


NO_FACTS = Facts()
