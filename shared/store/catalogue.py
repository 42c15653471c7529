"""What changes rarely and is read often: registered clusters and prices."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert

from shared.models.amounts import Amounts
from shared.models.cluster import Cluster, ClusterState, ClusterStatus
from shared.models.page import Page, PageRequest
from shared.rollout.pricing import Price, PriceKind
from shared.store import pages
from shared.store.nodes import excluded_gpus_of, total
from shared.store.rows import AMOUNT_COLUMNS, amounts_from, one_of
from shared.store.tables import clusters, orphans, prices, sweeps, usage_totals


def _in_seconds(seconds: sa.ColumnElement[float]) -> sa.ColumnElement[datetime]:
    """A moment from now on, though the transaction may have begun long ago."""
    return sa.func.clock_timestamp() + sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)


_PRICES = sa.select(prices).order_by(prices.c.kind, prices.c.sku, prices.c.cluster)
_PRICES_AT = _PRICES.where(prices.c.cluster.in_(["", sa.bindparam("at")]))
_CLUSTERS = sa.select(clusters, excluded_gpus_of(clusters.c.name))
_IS_UNREAD = sa.or_(clusters.c.products_read_at.is_(None), clusters.c.products_read_at < sa.bindparam("read_before"))
_IS_PROBED = clusters.c.away_until <= sa.func.clock_timestamp()
_UNREAD = (
    sa.select(clusters.c.id)
    .where(sa.or_(sa.and_(clusters.c.away_until.is_(None), _IS_UNREAD), _IS_PROBED))
    .order_by(clusters.c.products_read_at.nulls_first(), clusters.c.name)
    .limit(sa.bindparam("most"))
    .with_for_update(skip_locked=True)
)
_TAKE_UNREAD = (
    clusters.update()
    .where(one_of(clusters.c.id, _UNREAD))
    .values(
        products_read_at=sa.bindparam("taken_at"),
        away_until=sa.case((clusters.c.away_until.is_not(None), _in_seconds(sa.bindparam("probe", type_=sa.Float)))),
    )
    .returning(clusters.c.name, clusters.c.away_until.is_not(None).label("probed"))
)
_DELAY = sa.func.least(
    sa.func.power(2.0, sa.func.least(clusters.c.away_attempts, 10)) * sa.bindparam("first", type_=sa.Float),
    sa.bindparam("longest", type_=sa.Float),
)
_MARK_AWAY = (
    clusters.update()
    .where(
        clusters.c.name == sa.bindparam("cluster"),
        clusters.c.state != sa.literal_column(f"'{ClusterState.LOST.value}'"),
        sa.or_(clusters.c.away_until.is_(None), sa.bindparam("probed", type_=sa.Boolean)),
    )
    .values(
        away_until=_in_seconds(_DELAY),
        away_attempts=clusters.c.away_attempts + 1,
        away_reason=sa.bindparam("reason"),
    )
)
_MARK_AVAILABLE = (
    clusters.update()
    .where(
        clusters.c.name == sa.bindparam("cluster"),
        clusters.c.state != sa.literal_column(f"'{ClusterState.LOST.value}'"),
    )
    .values(away_until=None, away_attempts=0, away_reason="", contacted_at=sa.func.now())
)
_LOCK = (sa.text("SET LOCAL lock_timeout = '10s'"), sa.text("LOCK TABLE clusters IN ACCESS EXCLUSIVE MODE"))
_SHOWN = sa.bindparam("shown", type_=JSONB)
_EACH = sa.func.jsonb_array_elements_text(clusters.c.products.concat(_SHOWN)).table_valued("value")
_ADD_PRODUCTS = (
    clusters.update()
    .where(clusters.c.name == sa.bindparam("cluster"))
    .values(
        products=sa.func.coalesce(
            sa.select(sa.func.jsonb_agg(sa.distinct(_EACH.c.value))).scalar_subquery(), clusters.c.products
        ),
        contacted_at=sa.func.now(),
    )
)
_AT = sa.bindparam("names", type_=ARRAY(sa.Text))
_RESERVED_GPUS = (
    sa.select(usage_totals.c.cluster, usage_totals.c.sku, sa.func.sum(usage_totals.c.gpus).label("gpus"))
    .where(usage_totals.c.cluster == sa.func.any(_AT))
    .group_by(usage_totals.c.cluster, usage_totals.c.sku)
    .having(sa.func.sum(usage_totals.c.gpus) > 0)
)
SORTS = {"name": (clusters.c.name,)}
PRICE_SORTS = {"kind": (prices.c.kind, prices.c.sku, prices.c.cluster)}


@dataclass(frozen=True)
class CatalogueRows:
    """Clusters and prices, inside one transaction."""

    connection: sa.Connection

    def register_cluster(self, cluster: Cluster) -> None:
        """Adds a cluster, or replaces what is known of it but the products, which its nodes say."""
        values = {
            "labels": dict(cluster.labels),
            "gpus": None if cluster.gpus is None else dict(cluster.gpus),
        }
        statement = insert(clusters).values(name=cluster.name, **values)
        self.connection.execute(
            statement.on_conflict_do_update(index_elements=["name"], set_={**values, "updated_at": sa.func.now()})
        )
        sweep = insert(sweeps).values(cluster=cluster.name)
        self.connection.execute(sweep.on_conflict_do_nothing(index_elements=["cluster"]))

    def claim_name(self, name: str) -> bool:
        """Adds a cluster of which nothing is known yet; False when there is one of this name."""
        statement = insert(clusters).values(name=name, labels={})
        return bool(self.connection.execute(statement.on_conflict_do_nothing(index_elements=["name"])).rowcount)

    def clusters(self) -> list[Cluster]:
        """Every cluster, by name."""
        return list(map(_cluster, self.connection.execute(_CLUSTERS.order_by(clusters.c.name))))

    def page(self, request: PageRequest) -> Page[ClusterStatus]:
        """A page of the clusters, by name."""
        found = pages.fetch(self.connection, _CLUSTERS, SORTS, request, _status)
        return Page(self._with_reserved(found.items), found.next)

    def status(self, name: str) -> ClusterStatus | None:
        """One cluster, and how it stands."""
        rows = self.connection.execute(_CLUSTERS.where(clusters.c.name == name))
        found = self._with_reserved(list(map(_status, rows)))
        return found[0] if found else None

    def _with_reserved(self, found: Sequence[ClusterStatus]) -> list[ClusterStatus]:
        reserved: dict[str, dict[str, int]] = {one.cluster.name: {} for one in found}
        for row in self.connection.execute(_RESERVED_GPUS, {"names": [*reserved]}):
            reserved[row.cluster][row.sku] = int(row.gpus)
        return [replace(one, reserved=reserved[one.cluster.name]) for one in found]

    def cluster(self, name: str, *, lock: bool = False) -> Cluster | None:
        """One cluster. lock: nobody else changes it until this transaction ends."""
        statement = _CLUSTERS.where(clusters.c.name == name)
        row = self.connection.execute(statement.with_for_update() if lock else statement).one_or_none()
        return None if row is None else _cluster(row)

    def lock_clusters(self) -> None:
        """Waits for every transaction that has read which clusters there are, and holds up the next until the commit.

        So whatever was placed on a cluster can be seen from here on, and nothing more is placed on it meanwhile.
        """
        for statement in _LOCK:
            self.connection.execute(statement)

    def set_state(self, cluster: Cluster, state: ClusterState) -> None:
        """Writes down what an operator says of a cluster. One that is lost counts as away for ever."""
        values: dict[str, Any] = {"state": state, "updated_at": sa.func.now()}
        if state is ClusterState.LOST:
            forever: sa.ColumnElement[Any] = sa.literal_column("'infinity'::timestamptz")
            reason = f"cluster {cluster.name} was declared lost"
            values |= {"away_until": forever, "away_attempts": 0, "away_reason": reason}
        elif cluster.state is ClusterState.LOST:
            values |= {"away_until": None, "away_attempts": 0, "away_reason": ""}
        self.connection.execute(clusters.update().where(clusters.c.name == cluster.name).values(**values))

    def remove_cluster(self, cluster: str) -> None:
        """Forgets a cluster, its sweep and its orphans. Its prices stay."""
        for column in (clusters.c.name, sweeps.c.cluster, orphans.c.cluster):
            self.connection.execute(sa.delete(column.table).where(column == cluster))

    def take_unread(
        self, now: datetime, read_before: datetime, limit: int, *, probe: timedelta = timedelta(seconds=30)
    ) -> dict[str, bool]:
        """The clusters whose nodes are to be read, by name, and whether each is away. Nobody else gets them meanwhile.

        Those are the clusters whose products were never read, or read last before a moment; and those that are away and
        due to be probed, each by one caller, who has `probe` to say what came of it.
        """
        values = {"taken_at": now, "read_before": read_before, "most": limit, "probe": probe.total_seconds()}
        rows = self.connection.execute(_TAKE_UNREAD, values)
        return {row.name: row.probed for row in sorted(rows, key=lambda row: str(row.name))}

    def mark_away(self, cluster: str, reason: str, *, probed: bool, first: timedelta, longest: timedelta) -> None:
        """Remembers that a cluster does not answer: it is probed after `first`, then after twice as long, and so on.

        probed: whether the caller was the one to probe it. Of a cluster that is away already, only that one's word
        counts.
        """
        delays = {"first": first.total_seconds(), "longest": longest.total_seconds()}
        values = {"cluster": cluster, "reason": reason, "probed": probed, **delays}
        self.connection.execute(_MARK_AWAY, values)

    def mark_available(self, cluster: str) -> None:
        """Remembers that a cluster answers."""
        self.connection.execute(_MARK_AVAILABLE, {"cluster": cluster})

    def add_products(self, cluster: str, products: Sequence[str]) -> None:
        """Adds what a cluster's nodes show now. What they showed before stays: an autoscaler may take the last node."""
        self.connection.execute(_ADD_PRODUCTS, {"cluster": cluster, "shown": list(products)})

    def reserved(self) -> dict[tuple[str, str], Amounts]:
        """What the ledger holds, by (cluster, GPU SKU)."""
        sums = [sa.func.sum(usage_totals.c[name]).label(name) for name in AMOUNT_COLUMNS]
        columns = (usage_totals.c.cluster, usage_totals.c.sku)
        statement = sa.select(*columns, *sums).where(usage_totals.c.cluster != "").group_by(*columns)
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

    def price_page(self, cluster: str | None, request: PageRequest) -> Page[Price]:
        """A page of the prices, of one cluster if given, by kind, SKU and cluster. "" stands for all clusters."""
        statement = sa.select(prices)
        if cluster is not None:
            statement = statement.where(prices.c.cluster == cluster)
        return pages.fetch(self.connection, statement, PRICE_SORTS, request, _price)

    def prices_at(self, cluster: str) -> list[Price]:
        """The general prices and a cluster's own: all that a plan for it can cost by."""
        return self._prices(_PRICES_AT, {"at": cluster})

    def _prices(self, statement: sa.Select[Any], values: dict[str, str]) -> list[Price]:
        return list(map(_price, self.connection.execute(statement, values)))


def _price(row: sa.Row[Any]) -> Price:
    return Price(PriceKind(row.kind), row.usd_per_hour, row.source, row.priced_on, sku=row.sku, cluster=row.cluster)


def _status(row: sa.Row[Any]) -> ClusterStatus:
    return ClusterStatus(_cluster(row), row.contacted_at, row.away_until is not None, row.away_reason)


def _cluster(row: sa.Row[Any]) -> Cluster:
    excluded = tuple(sorted(row.excluded or ()))
    state, products = ClusterState(row.state), tuple(row.products)
    return Cluster(row.name, row.labels, row.gpus, products, state, excluded, total(row.excluded))
