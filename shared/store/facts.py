"""Loads the facts that a decision needs, from Sentinel's own tables."""

import uuid
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, array, insert

from shared.models.cluster import without
from shared.models.gpu import parse_sku
from shared.models.lifecycle import PlanStatus
from shared.models.plan import Verb
from shared.policy.decision import PlanView
from shared.policy.facts import NO_FACTS, ActionQuery, Facts, FactsNeeded, ServiceLevel
from shared.policy.holdings import WorkloadHoldings
from shared.policy.resources import ANY_SKU
from shared.policy.vocabulary import ScopeKind
from shared.rollout.pricing import PriceKind
from shared.store.ledger import Ledger
from shared.store.nodes import excluded_gpus_of, total
from shared.store.tables import action_plans, actions, clusters, prices
from shared.telemetry.rollups import LATENCIES
from shared.telemetry.windows import rollup_range

_SCOPE_COLUMNS = {
    ScopeKind.WORKLOAD: actions.c.workload_id,
    ScopeKind.TEAM: actions.c.team,
    ScopeKind.CLUSTER: actions.c.cluster,
}


@dataclass(frozen=True)
class FactRows:
    """What policy decides on, inside one transaction."""

    connection: sa.Connection

    def load(self, needs: FactsNeeded, plan: PlanView, now: datetime, known: Facts = NO_FACTS) -> Facts:
        """The facts about a plan at `now`. The caller has locked the scopes in `needs.locked`, if it decides.

        known: what was read already, and may not have changed since: it is not read again.
        """
        usage = {scope: known.usage[scope] for scope in needs.counted & known.usage.keys()}
        return Facts(
            usage=usage | Ledger(self.connection).usage(needs.counted - usage.keys()),
            actions={query: self._actions(query, plan.plan_id, now) for query in needs.actions},
            service=self.service_levels(plan.workload_id, sorted(needs.windows), now),
            priced_on=(known.priced_on or self._oldest_price(plan)) if needs.prices else None,
            capacity=None if needs.capacity is None else self._capacity(needs.capacity.key),
        )

    def decision_context(self, plan: PlanView, needs: FactsNeeded, holdings: WorkloadHoldings) -> Facts:
        """What is true at the moment of a decision, besides the facts that it needs: for a backtest of later policies.

        The first quota of a team has nothing to be tried on when nobody wrote down what the team held. So this is the
        usage of the scopes that the plan does not count in (team, cluster and everything), the usage of its workload,
        and the date of the oldest price. It decides nothing, so it is read before the scopes are locked.
        """
        others = {plan.counting(kind) for kind in (ScopeKind.TEAM, ScopeKind.CLUSTER, ScopeKind.GLOBAL)}
        usage = Ledger(self.connection).usage(others - needs.counted)
        return Facts(
            usage={plan.counting(ScopeKind.WORKLOAD): holdings.usage, **usage}, priced_on=self._oldest_price(plan)
        )

    def counts_in_capacity(self, plan: PlanView) -> bool:
        """Whether a plan counts in the GPUs of its cluster: it takes some, and it is known how many there are.

        A plan that does not queue is never refused for them. So it counts in them, and waits for others that do, only
        while some plan waits there, which it may not pass freely: teams that share no rule do not hold up each other
        for anything less.
        """
        if not plan.adds_gpus:
            return False
        scope = plan.counting(ScopeKind.CLUSTER)
        values = {"cluster": scope.key, "scope": str(scope), "queues": plan.queue}
        return self.connection.execute(_CAPPED, values).scalar_one_or_none() is True

    def record_action(self, plan: PlanView, now: datetime) -> None:
        """Counts an approved plan against rate limits: once, however often it is decided."""
        row = {
            "plan_id": plan.plan_id,
            "workload_id": plan.workload_id,
            "team": plan.team,
            "cluster": plan.cluster,
            "verb": plan.verb,
            "taken_at": now,
        }
        self.connection.execute(_RECORD, row)

    def service_levels(
        self, workload_id: uuid.UUID, windows: list[timedelta], now: datetime
    ) -> dict[timedelta, ServiceLevel]:
        """What telemetry says of a workload over windows that end now.

        By the time at which PostgreSQL received the samples: the clock that observed them may be wrong.

        One statement for all windows. It reads hours and, at both ends, minutes: as many for a window of an hour
        however much telemetry there is.
        """
        if not windows:
            return {}
        ranges = [rollup_range(window, now) for window in windows]
        values = {
            "workload": workload_id,
            "now": now,
            "minutes": [one.minutes for one in ranges],
            "hours": [one.hours for one in ranges],
        }
        rows = self.connection.execute(_SERVICE_LEVELS, values).mappings()
        return {window: _service_level(row) for window, row in zip(windows, rows, strict=True)}

    def _oldest_price(self, plan: PlanView) -> date | None:
        """The date of the oldest price that the plan's cost rests on; a cluster's own price hides the general one.

        The cost of a slice may rest on the price of its GPU, see shared.rollout.pricing.
        """
        skus = {sku for sku, amounts in plan.lines.items() if amounts.gpus}
        priced = sorted(skus | {parse_sku(sku).gpu for sku in skus if sku != ANY_SKU})
        values = {"cluster": plan.cluster, "skus": priced, "any_gpu": ANY_SKU in skus}
        found: date | None = self.connection.execute(_OLDEST_PRICE, values).scalar_one()
        return found

    def _capacity(self, cluster: str) -> dict[str, int] | None:
        row = self.connection.execute(_CAPACITY, {"cluster": cluster}).one_or_none()
        return None if row is None or row.gpus is None else without(row.gpus, total(row.excluded))

    def _actions(self, query: ActionQuery, plan_id: uuid.UUID, now: datetime) -> tuple[datetime, ...]:
        """What other plans have spent, oldest first; no more of the newest than the query asks for.

        An approved plan that is decided again is not held up by itself.
        """
        key = uuid.UUID(query.scope.key) if query.scope.kind is ScopeKind.WORKLOAD else query.scope.key
        values = {"scope": key, "since": now - query.window, "plan": plan_id, "most": query.most, "skip": query.skip}
        newest = self.connection.execute(_newest_actions(query.scope.kind, query.verbs or tuple(Verb)), values)
        return tuple(reversed(newest.scalars().all()))


@lru_cache
def _newest_actions(kind: ScopeKind, verbs: tuple[Verb, ...]) -> sa.Select[Any]:
    """The times of actions, newest first.

    Each verb is read apart, in the order of an index that has all that is asked for. PostgreSQL merges them, and reads
    no more than it skips and returns, however many actions of other verbs there are. Without a limit for each verb it
    would read all of them and sort.
    """
    most, skip = (sa.bindparam(name, type_=sa.BigInteger) for name in ("most", "skip"))

    def of_verb(verb: Verb) -> sa.Select[Any]:
        taken = actions.c.taken_at
        statement = sa.select(taken).where(
            actions.c.verb == sa.literal_column(f"'{verb.value}'"),
            taken > sa.bindparam("since"),
            actions.c.plan_id != sa.bindparam("plan", type_=sa.Uuid),
        )
        if (column := _SCOPE_COLUMNS.get(kind)) is not None:
            statement = statement.where(column == sa.bindparam("scope", type_=column.type))
        return sa.select(statement.order_by(taken.desc()).limit(most + skip).subquery())

    taken = sa.union_all(*map(of_verb, dict.fromkeys(verbs))).subquery()
    return sa.select(taken.c.taken_at).order_by(taken.c.taken_at.desc()).limit(most).offset(skip)


def _service_level(row: sa.RowMapping) -> ServiceLevel:
    latencies = {p: row[latency] for p, (latency, _) in LATENCIES.items() if row[latency] is not None}
    return ServiceLevel(row["uptime"], row["requests"], row["errors"], latencies, row["newest_at"])


def _anyone_waits() -> sa.ColumnElement[bool]:
    """Whether a plan in the queue waits for something of a scope."""
    scope = array([sa.cast(sa.bindparam("scope"), sa.Text)])
    queued = action_plans.c.status == sa.literal_column(f"'{PlanStatus.QUEUED.value}'")
    return sa.exists().where(queued, action_plans.c.wait_keys.contains(scope))


def _oldest_price() -> sa.Select[Any]:
    own = prices.alias()
    cluster: sa.BindParameter[str] = sa.bindparam("cluster")
    hidden = sa.exists().where(own.c.kind == prices.c.kind, own.c.sku == prices.c.sku, own.c.cluster == cluster)
    wanted = sa.or_(sa.bindparam("any_gpu", type_=sa.Boolean), prices.c.sku == sa.func.any(_SKUS))
    return sa.select(sa.func.min(prices.c.priced_on)).where(
        sa.or_(prices.c.cluster == cluster, sa.and_(prices.c.cluster == "", ~hidden)),
        sa.or_(prices.c.kind != PriceKind.GPU, wanted),
    )


_WEIGHED = ", ".join(
    f"sum({latency}) / nullif(sum({weight}), 0) AS {latency}" for latency, weight in LATENCIES.values()
)
# Hours are made in their order, so those before the last are all there; what follows it is read by the minute.
_SERVICE_LEVELS = sa.text(f"""
    WITH made AS (
        SELECT coalesce(max(starts_at) + interval '1 hour', CAST(:now AS timestamptz) - interval '2 days') AS until
          FROM workload_hours
         WHERE workload_id = :workload AND starts_at > CAST(:now AS timestamptz) - interval '2 days'
           AND starts_at <= :now
    )
    SELECT level.*
      FROM made CROSS JOIN unnest(CAST(:minutes AS timestamptz[]), CAST(:hours AS timestamptz[]))
           WITH ORDINALITY AS span(minutes, hours, number)
     CROSS JOIN LATERAL (
        SELECT sum(up) / nullif(sum(up_samples), 0) AS uptime, coalesce(sum(requests), 0) AS requests,
               coalesce(sum(errors), 0) AS errors, max(newest_at) AS newest_at, {_WEIGHED}
          FROM (
            SELECT * FROM workload_hours
             WHERE workload_id = :workload AND starts_at >= span.hours AND starts_at < made.until
            UNION ALL
            SELECT * FROM workload_minutes
             WHERE workload_id = :workload AND starts_at >= span.minutes AND starts_at < span.hours
            UNION ALL
            SELECT * FROM workload_minutes
             WHERE workload_id = :workload AND starts_at >= greatest(span.hours, made.until) AND starts_at <= :now
          ) AS rollup
     ) AS level
     ORDER BY span.number
""").columns(newest_at=sa.DateTime(timezone=True))  # noqa: S608 - constants
_SKUS = sa.bindparam("skus", type_=ARRAY(sa.Text))
_OLDEST_PRICE = _oldest_price()
_HERE = clusters.c.name == sa.bindparam("cluster")
_CAPACITY = sa.select(clusters.c.gpus, excluded_gpus_of(clusters.c.name)).where(_HERE)
_CAPPED = sa.select(sa.or_(sa.bindparam("queues", type_=sa.Boolean), _anyone_waits())).where(
    _HERE, clusters.c.gpus.is_not(None)
)
_RECORD = insert(actions).on_conflict_do_nothing(index_elements=["plan_id"])
