"""Clusters and prices: every change names its actor."""

from datetime import date
from decimal import Decimal

from shared.models.actor import Actor
from shared.models.cluster import Cluster
from shared.operations import clusters, prices
from shared.rollout.pricing import Price, PriceKind
from shared.store.unit_of_work import Store

ADA = Actor.operator("ada")


def test_a_cluster_is_registered_and_audited(store: Store) -> None:
    east = Cluster("east", {"region": "us"}, {"L4": 8})
    with store.begin() as work:
        clusters.register(work, east, ADA)
        clusters.register(work, Cluster("far"), ADA)
    with store.begin() as work:
        assert [one.name for one in work.catalogue.clusters()] == ["east", "far", "local"]
        [row], [far] = work.audit_entries("cluster/east"), work.audit_entries("cluster/far")
    assert (row.action, row.actor) == ("cluster.registered", "operator:ada")
    assert row.detail.items() >= {"labels": {"region": "us"}, "gpus": {"L4": 8}}.items()
    assert far.detail["gpus"] is None


def test_prices_are_set_with_one_audit_row(store: Store) -> None:
    today = date(2026, 1, 2)
    mine = [
        Price(PriceKind.GPU, Decimal("1.50"), "contract", today, sku="L4", cluster="local"),
        Price(PriceKind.CPU, Decimal("0.02"), "contract", today),
    ]
    with store.begin() as work:
        prices.set_prices(work, mine, ADA)
    with store.begin() as work:
        found = work.catalogue.prices()
        [row] = work.audit_entries("prices")
    assert all(price in found for price in mine)
    assert (row.actor, row.detail["prices"]) == ("operator:ada", ["gpu L4 local 1.50", "cpu 0.02"])
