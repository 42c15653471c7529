"""What is recorded besides what a decision needed is what the facts would have said, in one statement."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from shared.models.cluster import Cluster
from shared.policy.decision import PlanView
from shared.policy.facts import Facts, Needs
from shared.policy.vocabulary import ScopeKind
from shared.rollout.pricing import Price, PriceKind
from shared.store.judging import look_at
from shared.store.tables import reservations, usage, workload_costs
from shared.store.unit_of_work import Store, UnitOfWork
from tests.builders import Deliver, id_of

KINDS = (ScopeKind.WORKLOAD, ScopeKind.TEAM, ScopeKind.CLUSTER, ScopeKind.GLOBAL)


def view(work: UnitOfWork, name: str = "a") -> PlanView:
    workload = work.workloads.get(id_of(name))
    assert workload is not None
    plan = work.plans.get(workload.plan_id)
    assert plan is not None
    return look_at(plan, workload, [], work)


def loaded(work: UnitOfWork, plan: PlanView) -> Facts:
    """The same facts as rules would have them."""
    facts = work.facts(Needs(usage=frozenset(plan.counting(kind) for kind in KINDS), prices=True), plan)
    held = {
        scope: replace(known, by_sku={sku: a for sku, a in known.by_sku.items() if a.replicas})
        for scope, known in facts.usage.items()
    }
    return replace(facts, usage=held)


@contextmanager
def counted(connection: sa.Connection) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    sa.event.listen(connection, "before_cursor_execute", note)
    yield statements
    sa.event.remove(connection, "before_cursor_execute", note)


@pytest.fixture
def busy(store: Store, deliver: Deliver) -> Store:
    """Three workloads of two teams on two clusters, that have cost something this month and last."""
    with store.begin() as work:
        work.catalogue.register_cluster(Cluster("east", {"region": "us"}, {"L4": 8}))
    deliver.decide("a")
    deliver.decide("b", resources={"cpu": "1", "memory": "1Gi", "gpu": {"count": 1, "sku": "H100"}})
    deliver.decide("c", team="ads", clusters={"matchLabels": {"region": "us"}})
    deliver.decide("gone")
    with store.begin() as work:
        month = sa.func.date_trunc("month", sa.func.now())
        for table in (usage, reservations):
            work.connection.execute(table.update().values(accrued_at=sa.func.now() - timedelta(hours=5)))
        work.connection.execute(usage.update().values(accrued_usd=7))
        work.connection.execute(workload_costs.insert().values(workload_id=id_of("a"), month=month, usd=3))
        before = month - timedelta(days=3)
        work.connection.execute(workload_costs.insert().values(workload_id=id_of("a"), month=before, usd=100))
        zero = dict.fromkeys(("replicas", "cpu", "memory", "gpus", "usd_per_hour"), 0)
        work.connection.execute(usage.insert().values(team="search", cluster="local", sku="T4", **zero))
    return store


@pytest.mark.parametrize("name", ["a", "b"])
def test_it_says_what_the_facts_of_rules_say(busy: Store, name: str) -> None:
    with busy.begin() as work:
        plan = view(work, name)
        around, expected = work.surroundings(plan), loaded(work, plan)
    assert around == expected
    assert around.usage[plan.counting(ScopeKind.TEAM)].by_sku.keys() == {"L4", "H100"}
    assert around.usage[plan.counting(ScopeKind.WORKLOAD)].month_to_date_usd > 0


def test_the_price_is_the_clusters_own_where_it_has_one(busy: Store) -> None:
    with busy.begin() as work:
        general = work.surroundings(view(work)).priced_on
        prices = work.catalogue.prices()
        assert general is not None
        old, new = general - timedelta(days=900), general + timedelta(days=30)
        oldest = next(price for price in prices if price.kind is PriceKind.CPU)
        work.catalogue.set_prices([Price(PriceKind.CPU, oldest.usd_per_hour, "contract", old)])
        assert work.surroundings(view(work)).priced_on == old == loaded(work, view(work)).priced_on
        for kind, sku in ((PriceKind.CPU, ""), (PriceKind.MEMORY, ""), (PriceKind.GPU, "L4")):
            work.catalogue.set_prices([Price(kind, oldest.usd_per_hour, "contract", new, sku=sku, cluster="local")])
        assert work.surroundings(view(work)).priced_on == new == loaded(work, view(work)).priced_on


def test_it_is_one_statement(busy: Store) -> None:
    with busy.begin() as work:
        plan = view(work)
        with counted(work.connection) as statements:
            work.surroundings(plan)
    assert len(statements) == 1


def test_an_empty_ledger_holds_nothing_and_that_is_known(store: Store, deliver: Deliver) -> None:
    deliver.submit("a")
    with store.begin() as work:
        plan = view(work)
        around = work.surroundings(plan)
    assert {scope.kind for scope in around.usage} == set(KINDS)
    assert all(known.by_sku == {} and known.month_to_date_usd == 0 for known in around.usage.values())
