"""What is recorded with a decision besides the facts that it needed: what else was true at that moment.

Policies of tomorrow are tried on it: the first quota of a team has nothing to be tried on if nobody wrote down what
the team held. It is one statement a decision, and nothing is locked for it.
"""

from datetime import date
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from shared.models.amounts import NOTHING, Amounts
from shared.policy.decision import PlanView
from shared.policy.facts import Facts, ScopeUsage
from shared.policy.resources import ANY_SKU
from shared.policy.vocabulary import ScopeKind
from shared.rollout.pricing import PriceKind
from shared.store.ledger import held_by_scope, held_by_workload
from shared.store.rows import AMOUNT_COLUMNS, amounts_from
from shared.store.tables import prices, usage

_PRICE = "price"
_NO_DATE = sa.null().cast(sa.Date)
_NOTHING: list[sa.ColumnElement[Any]] = [sa.literal_column("0").label(name) for name in AMOUNT_COLUMNS]


def load(connection: sa.Connection, plan: PlanView) -> Facts:
    """The usage of the plan's workload, team, cluster and of everything, and the oldest price that it rests on."""
    skus = [sku for sku, amounts in plan.lines.items() if amounts.gpus]
    values = {
        "workload": plan.workload_id,
        "team": plan.team,
        "cluster": plan.cluster,
        "skus": skus,
        "any_gpu": ANY_SKU in skus,
    }
    lines: dict[str, dict[str, Amounts]] = {}
    month: dict[str, Decimal] = {}
    priced_on: date | None = None
    for row in connection.execute(_STATEMENT, values).mappings():
        if row["kind"] == _PRICE:
            priced_on = row["priced_on"]
            continue
        month[row["kind"]] = month.get(row["kind"], Decimal(0)) + row["month"]
        if (amounts := amounts_from(row)) != NOTHING:
            lines.setdefault(row["kind"], {})[row["sku"]] = amounts
    kinds = (ScopeKind.WORKLOAD, ScopeKind.TEAM, ScopeKind.CLUSTER, ScopeKind.GLOBAL)
    found = {plan.counting(kind): ScopeUsage(lines.get(kind, {}), month.get(kind, Decimal(0))) for kind in kinds}
    return Facts(usage=found, priced_on=priced_on)


def _of(kind: ScopeKind, held: sa.Select[Any] | sa.CompoundSelect[Any]) -> sa.Select[Any]:
    part = held.subquery()
    return sa.select(_named(kind), *part.c, _NO_DATE.label("priced_on"))


def _oldest_price() -> sa.Select[Any]:
    """As shared.store.facts says it: a cluster's own price hides the general one."""
    own = prices.alias()
    hidden = sa.exists().where(
        own.c.kind == prices.c.kind, own.c.sku == prices.c.sku, own.c.cluster == sa.bindparam("cluster")
    )
    gpus = sa.or_(sa.bindparam("any_gpu", type_=sa.Boolean), prices.c.sku.in_(sa.bindparam("skus", expanding=True)))
    return sa.select(
        sa.literal_column(f"'{_PRICE}'"),
        sa.literal_column("''"),
        *_NOTHING,
        sa.literal_column("0"),
        sa.func.min(prices.c.priced_on),
    ).where(
        sa.or_(prices.c.cluster == sa.bindparam("cluster"), sa.and_(prices.c.cluster == "", ~hidden)),
        sa.or_(prices.c.kind != PriceKind.GPU, gpus),
    )


def _named(kind: ScopeKind) -> sa.ColumnElement[str]:
    return sa.literal_column(f"'{kind.value}'", sa.Text).label("kind")


# Built once: putting it together costs more than PostgreSQL needs to answer it.
_STATEMENT = sa.union_all(
    _of(ScopeKind.TEAM, held_by_scope(usage.c.team == sa.bindparam("team"))),
    _of(ScopeKind.CLUSTER, held_by_scope(usage.c.cluster == sa.bindparam("cluster"))),
    _of(ScopeKind.GLOBAL, held_by_scope()),
    _of(ScopeKind.WORKLOAD, held_by_workload(sa.bindparam("workload", type_=sa.Uuid))),
    _oldest_price(),
)
