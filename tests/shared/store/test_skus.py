"""Stored SKUs follow the table of GPUs when a release teaches it a new one."""

import uuid
from dataclasses import replace
from datetime import date
from decimal import Decimal

import sqlalchemy as sa

from shared.models.amounts import Amounts
from shared.models.cluster import Cluster
from shared.models.deployment import Deployment
from shared.models.reservation import Reservation
from shared.policy.vocabulary import CountingScope, ScopeKind
from shared.rollout.pricing import Price, PriceKind
from shared.store.skus import rename_skus
from shared.store.tables import usage, workload_costs
from shared.store.unit_of_work import Store
from tests.shared.store.test_rows import deployment, plan

TEAM = CountingScope(ScopeKind.TEAM, "search")
ONE = Amounts(1, 1000, 2**30, 1, Decimal("3.600000"))
OWNER = uuid.UUID(int=1)


def rename(owner_engine: sa.Engine) -> None:
    with owner_engine.begin() as connection:
        rename_skus(connection)


def held(store: Store, owner: uuid.UUID = OWNER) -> dict[str, Amounts]:
    with store.begin() as work:
        return work.ledger.reserved(owner, "local")


def test_what_is_held_is_counted_under_the_name_of_today(store: Store, owner_engine: sa.Engine) -> None:
    with store.begin() as work:
        lines = {"NVIDIA-A30": ONE, "L4": ONE}
        work.ledger.hold(Reservation(OWNER, "local", "search", lines), uuid.uuid4(), work.now)
    rename(owner_engine)
    assert held(store) == {"A30": ONE, "L4": ONE}
    with store.begin() as work:
        assert work.ledger.usage([TEAM])[TEAM].by_sku == {"A30": ONE, "L4": ONE}


def test_two_names_of_one_sku_are_added_up_and_nothing_is_charged_twice_or_lost(
    store: Store, owner_engine: sa.Engine
) -> None:
    with store.begin() as work:
        for owner, lines in ((OWNER, {"NVIDIA-A30": ONE, "A30": ONE}), (uuid.UUID(int=2), {"A30": ONE})):
            work.ledger.hold(Reservation(owner, "local", "search", lines), uuid.uuid4(), work.now)
    with owner_engine.begin() as connection:
        begun = sa.func.greatest(
            sa.func.now() - sa.text("interval '10 seconds'"), sa.func.date_trunc("month", sa.func.now())
        )
        connection.execute(usage.update().values(accrued_at=begun, accrued_usd=1))
        connection.execute(
            sa.text("UPDATE reservations SET accrued_at = :at"),
            {"at": connection.execute(sa.select(begun)).scalar_one()},
        )
    with store.begin() as work:
        before, at = work.ledger.usage([TEAM])[TEAM].month_to_date_usd, work.now
        own = work.ledger.holdings(OWNER).month_to_date_usd
    rename(owner_engine)
    assert held(store) == {"A30": ONE + ONE}
    with store.begin() as work:
        found = work.ledger.usage([TEAM])[TEAM]
        since = Decimal((work.now - at).total_seconds())
        after = work.ledger.holdings(OWNER).month_to_date_usd
    assert found.by_sku == {"A30": ONE + ONE + ONE}
    assert abs(found.month_to_date_usd - before - 3 * since / 1000) < Decimal("0.000001")
    assert abs(after - own - 2 * since / 1000) < Decimal("0.000001")


def test_of_two_prices_of_one_sku_the_newer_stays(store: Store, owner_engine: sa.Engine) -> None:
    def price(sku: str, usd: int, cluster: str = "") -> Price:
        return Price(PriceKind.GPU, Decimal(usd), "test", date(2026, 1, 1), sku=sku, cluster=cluster)

    for row in (
        price("A30", 1),
        price("NVIDIA-A30", 2),
        price("NVIDIA-A40", 3),
        price("A40", 4),
        price("NVIDIA-A30", 5, "x"),
    ):
        with store.begin() as work:
            work.catalogue.set_prices([row])
    rename(owner_engine)
    with store.begin() as work:
        found = {(p.sku, p.cluster): p.usd_per_hour for p in work.catalogue.prices() if p.sku in ("A30", "A40")}
        assert all("NVIDIA" not in p.sku for p in work.catalogue.prices())
    assert found == {("A30", ""): 2, ("A40", ""): 4, ("A30", "x"): 5}


def test_capacities_plans_and_revisions_follow(store: Store, owner_engine: sa.Engine) -> None:
    waiting = replace(plan(), sku="NVIDIA-A30", waits_for=("team/search gpus[NVIDIA-A30]", "cluster/eu cpu"))
    revision: Deployment = replace(deployment(1), sku="NVIDIA-A30")
    with store.begin() as work:
        work.catalogue.register_cluster(Cluster("eu", gpus={"NVIDIA-A30": 4, "A30": 2, "X9": 1}))
        work.plans.add(waiting, work.now)
        work.deployments.add(revision)
    with owner_engine.begin() as connection:
        texts = '["team/search gpus[NVIDIA-A30]", "cluster/eu cpu"]'
        connection.execute(sa.text("UPDATE action_plans SET waits_for = CAST(:texts AS jsonb)"), {"texts": texts})
    rename(owner_engine)
    rename(owner_engine)
    with store.begin() as work:
        [cluster] = [one for one in work.catalogue.clusters() if one.name == "eu"]
        found, kept = work.plans.get(waiting.id), work.deployments.get(revision.id)
    assert cluster.gpus == {"A30": 6, "X9": 1}
    assert found is not None
    assert (found.sku, found.waits_for) == ("A30", ("team/search gpus[A30]", "cluster/eu cpu"))
    assert kept is not None
    assert kept.sku == "A30"


def test_a_store_with_the_names_of_today_is_left_alone(store: Store, owner_engine: sa.Engine) -> None:
    with store.begin() as work:
        work.ledger.hold(Reservation(OWNER, "local", "search", {"": ONE, "L4": ONE}), uuid.uuid4(), work.now)
        before = work.catalogue.prices()
    rename(owner_engine)
    assert held(store) == {"": ONE, "L4": ONE}
    with store.begin() as work:
        assert work.catalogue.prices() == before
    with owner_engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(workload_costs)).scalar_one() == 0
