"""What changes rarely and is read often: registered clusters and prices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.models.amounts import Amounts
from shared.models.cluster import Cluster
from shared.rollout.pricing import Price, PriceKind
from shared.store.rows import AMOUNT_COLUMNS, amounts_from
from shared.store.tables import clusters, prices, usage

_PRICES = sa.select(prices).order_by(prices.c.kind, prices.c.sku, prices.c.cluster)
_PRICES_AT = _PRICES.where(prices.c.cluster.in_(["", sa.bindparam("at")]))


@dataclass(frozen=True)
class CatalogueRows:
    """Clusters and prices, inside one transaction."""

    connection: sa.Connection

    def register_cluster(self, cluster: Cluster) -> None:
        """Adds a cluster, or replaces what is known of it."""
        values = {
            "labels": dict(cluster.labels),
            "gpus": None if cluster.gpus is None else dict(cluster.gpus),
        }
        statement = insert(clusters).values(name=cluster.name, **values)
        self.connection.execute(
            statement.on_conflict_do_update(index_elements=["name"], set_={**values, "updated_at": sa.func.now()})
        )

    def clusters(self) -> list[Cluster]:
        rows = self.connection.execute(sa.select(clusters).order_by(clusters.c.name))
        return [Cluster(row.name, row.labels, row.gpus) for row in rows]

    def reserved(self) -> dict[tuple[str, str], Amounts]:
        """What the ledger holds, by (cluster, GPU SKU)."""
        sums = [sa.func.sum(usage.c[name]).label(name) for name in AMOUNT_COLUMNS]
        statement = sa.select(usage.c.cluster, usage.c.sku, *sums).group_by(usage.c.cluster, usage.c.sku)
        return {
            (row["cluster"], row["sku"]): amounts_from(row) for row in self.connection.execute(statement).mappings()
        }

    def set_prices(self, rows: Sequence[Price]) -> None:
        """Adds prices; a price for the same thing is replaced."""
        for row in rows:
            values = {"usd_per_hour": row.usd_per_hour, "source": row.source, "priced_on": row.priced_on}
            statement = insert(prices).values(kind=row.kind, sku=row.sku, cluster=row.cluster, **values)
            self.connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["kind", "sku", "cluster"], set_={**values, "updated_at": sa.func.now()}
                )
            )

    def prices(self) -> list[Price]:
        """Every price of every cluster."""
        return self._prices(_PRICES, {})

    def prices_at(self, cluster: str) -> list[Price]:
        """The general prices and a cluster's own: all that a plan for it can cost by."""
        return self._prices(_PRICES_AT, {"at": cluster})

    def _prices(self, statement: sa.Select[Any], values: dict[str, str]) -> list[Price]:
        rows = self.connection.execute(statement, values)
        return [
            Price(PriceKind(r.kind), r.usd_per_hour, r.source, r.priced_on, sku=r.sku, cluster=r.cluster) for r in rows
        ]
