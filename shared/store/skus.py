"""SKUs that a release calls by another name than the one before.

A GPU that the table of GPUs did not know was stored under what somebody called it: "NVIDIA-A30". Once the table knows
it, everything compares its SKU, "A30", and the stored names have to follow. Policies and workloads need no renaming:
their SKUs are normalised whenever they are read.
"""

import re

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.models.gpu import normalise_sku
from shared.policy.resources import keys_of
from shared.store.ledger import Ledger
from shared.store.tables import action_plans, clusters, deployments, prices

_IN_BRACKETS = re.compile(r"(?<=\[)[^\]]+")
_NAMED = (prices, action_plans, deployments)


def rename_skus(connection: sa.Connection) -> None:
    """Gives every stored SKU its name of today, in one transaction. Changes nothing the second time.

    Two prices of one thing become the newer one, two counts their sum.
    """
    ledger = Ledger(connection)
    stored = ledger.skus().union(*(connection.execute(sa.select(t.c.sku).distinct()).scalars() for t in _NAMED))
    renamed = {sku: name for sku in sorted(stored) if sku and (name := normalise_sku(sku)) != sku}
    if renamed:
        ledger.lock_everything()
    for old, new in renamed.items():
        ledger.rename_sku(old, new)
        _rename_prices(connection, old, new)
        for table in (action_plans, deployments):
            connection.execute(table.update().where(table.c.sku == old).values(sku=new))
    _rename_capacities(connection)
    _rename_waits(connection)


def _rename_prices(connection: sa.Connection, old: str, new: str) -> None:
    kept = ("kind", "cluster", "usd_per_hour", "source", "priced_on", "updated_at")
    moved = sa.select(*(prices.c[name] for name in kept), sa.literal(new)).where(prices.c.sku == old)
    statement = insert(prices).from_select([*kept, "sku"], moved)
    newer = {name: statement.excluded[name] for name in ("usd_per_hour", "source", "priced_on", "updated_at")}
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["kind", "sku", "cluster"],
            set_=newer,
            where=statement.excluded.updated_at > prices.c.updated_at,
        )
    )
    connection.execute(prices.delete().where(prices.c.sku == old))


def _rename_capacities(connection: sa.Connection) -> None:
    for row in connection.execute(sa.select(clusters.c.name, clusters.c.gpus).where(clusters.c.gpus.is_not(None))):
        counts: dict[str, int] = {}
        for sku, count in row.gpus.items():
            counts[normalise_sku(sku)] = counts.get(normalise_sku(sku), 0) + count
        if counts != row.gpus:
            connection.execute(clusters.update().where(clusters.c.name == row.name).values(gpus=counts))


def _rename_waits(connection: sa.Connection) -> None:
    """Plans in the queue wait for resources such as "team/search gpus[H100]"."""
    waiting = sa.select(action_plans.c.id, action_plans.c.waits_for).where(
        action_plans.c.waits_for != sa.literal([], action_plans.c.waits_for.type)
    )
    for row in connection.execute(waiting):
        texts = [_IN_BRACKETS.sub(lambda found: normalise_sku(found[0]), text) for text in row.waits_for]
        if texts != row.waits_for:
            connection.execute(
                action_plans.update()
                .where(action_plans.c.id == row.id)
                .values(waits_for=texts, wait_keys=keys_of(texts))
            )
