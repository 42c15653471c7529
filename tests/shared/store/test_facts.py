"""What a decision needs and what is recorded besides it, held against the rows themselves."""

import uuid
from datetime import timedelta
from decimal import Decimal
from itertools import chain, combinations

import pytest
import sqlalchemy as sa

from shared.models.amounts import NOTHING, Amounts
from shared.models.cluster import Cluster
from shared.models.plan import Verb
from shared.operations.plan_view import stored_plan_view
from shared.policy.decision import PlanView
from shared.policy.evaluate import evaluate, facts_needed
from shared.policy.facts import ActionQuery, Facts, FactsNeeded, ScopeUsage
from shared.policy.months import cost, month_start
from shared.policy.vocabulary import CountingScope, ScopeKind
from shared.rollout.pricing import Price, PriceKind
from shared.store.rows import amounts_from
from shared.store.tables import reservations, usage, workload_costs
from shared.store.unit_of_work import Store, UnitOfWork
from tests.support.builders import Deliver, connection_of, id_of
from tests.support.policies import stored

COUNTED = (ScopeKind.TEAM, ScopeKind.CLUSTER, ScopeKind.GLOBAL)
KINDS = (ScopeKind.WORKLOAD, *COUNTED)
SUBSETS = list(chain.from_iterable(combinations(KINDS, size) for size in range(5)))


PLENTY = timedelta(days=1)


def take(store: Store, plan: PlanView, verb: Verb, count: int, *, ago: float, **other: str) -> None:
    """So many actions like those of a plan, a second apart, the newest that many seconds ago."""
    row = {"workload": plan.workload_id, "team": plan.team, "cluster": plan.cluster, "verb": verb.value, **other}
    with store.begin() as work:
        connection_of(work).execute(_TAKE, {**row, "count": count, "ago": ago})


_TAKE = sa.text("""
    INSERT INTO actions (plan_id, workload_id, team, cluster, verb, taken_at)
    SELECT gen_random_uuid(), :workload, :team, :cluster, :verb, now() - (:ago + n) * interval '1 second'
      FROM generate_series(0, CAST(:count AS int) - 1) AS n
""")


def analyze(owner: sa.Engine) -> None:
    """PostgreSQL does this by itself from time to time; until then it plans for few rows."""
    with owner.begin() as connection:
        connection.execute(sa.text("ANALYZE actions"))


def rows_read(work: UnitOfWork, table: str = "actions") -> int:
    """How many rows and index entries of a table were read until now, counted from anywhere."""
    counted = """
        SELECT pg_stat_get_xact_tuples_returned(one.oid) FROM pg_class AS named
          JOIN pg_class AS one ON one.oid = named.oid
               OR one.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = named.oid)
         WHERE named.relname = :table
    """
    return sum(connection_of(work).execute(sa.text(counted), {"table": table}).scalars())


def view(work: UnitOfWork, name: str = "a") -> PlanView:
    workload = work.workloads.get(id_of(name))
    assert workload is not None
    plan = work.plans.get(workload.plan_id)
    assert plan is not None
    return stored_plan_view(work, plan, workload, [], work.ledger.reserved(workload.id, plan.decision.cluster))


def around(work: UnitOfWork, plan: PlanView, *counted: ScopeKind) -> Facts:
    needs = FactsNeeded(usage=frozenset(plan.counting(kind) for kind in counted))
    return work.facts.decision_context(plan, needs, work.ledger.holdings(plan.workload_id))


def told_by_rows(work: UnitOfWork, plan: PlanView, kind: ScopeKind) -> ScopeUsage:
    """Row by row: what is held, and what it has cost since the month began."""
    key = {"team": plan.team, "cluster": plan.cluster, "workload": plan.workload_id}.get(kind)
    table, column = (reservations, "workload_id") if kind is ScopeKind.WORKLOAD else (usage, kind.value)
    by_sku: dict[str, Amounts] = {}
    usd = Decimal(0)
    begun = month_start(work.now)
    for row in connection_of(work).execute(sa.select(table)).mappings():
        if kind is ScopeKind.GLOBAL or row[column] == key:
            by_sku[row["sku"]] = by_sku.get(row["sku"], NOTHING) + amounts_from(row)
            usd += cost(row["usd_per_hour"], work.now - max(begun, row["accrued_at"]))
            usd += row["accrued_usd"] if table is usage and row["accrued_at"] >= begun else 0
    if kind is ScopeKind.WORKLOAD:
        charged = sa.select(workload_costs).where(workload_costs.c.workload_id == key)
        usd += sum(row.usd for row in connection_of(work).execute(charged) if row.day >= begun.date())
    return ScopeUsage({sku: held for sku, held in by_sku.items() if held != NOTHING}, usd)


def agree(known: ScopeUsage, expected: ScopeUsage) -> bool:
    return known.by_sku == expected.by_sku and round(known.month_to_date_usd - expected.month_to_date_usd, 4) == 0


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
            connection_of(work).execute(table.update().values(accrued_at=sa.func.now() - timedelta(hours=5)))
        connection_of(work).execute(usage.update().values(accrued_usd=7))
        long_ago = sa.func.now() - timedelta(days=40)
        connection_of(work).execute(usage.update().where(usage.c.sku == "H100").values(accrued_at=long_ago))
        charged = {"workload_id": id_of("a"), "cluster": "local", "sku": "L4", "team": "search", "gpu_hours": 1}
        for day, usd in ((month, 3), (month - timedelta(days=3), 100)):
            connection_of(work).execute(workload_costs.insert().values(**charged, day=day, usd=usd))
        zero = dict.fromkeys(("replicas", "cpu", "memory", "gpus", "usd_per_hour"), 0)
        connection_of(work).execute(usage.insert().values(team="search", cluster="local", sku="T4", **zero))
    return store


@pytest.mark.parametrize("name", ["a", "b"])
def test_together_they_say_what_the_rows_say(busy: Store, name: str) -> None:
    with busy.begin() as work:
        plan = view(work, name)
        scopes = {kind: plan.counting(kind) for kind in KINDS}
        expected = {kind: told_by_rows(work, plan, kind) for kind in KINDS}
        assert all(expected[kind].month_to_date_usd > 0 for kind in KINDS)
        for counted in SUBSETS:
            besides = around(work, plan, *counted)
            needed = work.facts.load(FactsNeeded(usage=frozenset(scopes[kind] for kind in counted)), plan, work.now)
            assert set(needed.usage) == {scopes[kind] for kind in counted}
            uncounted = {kind for kind in KINDS if kind not in counted}
            assert set(besides.usage) == {scopes[kind] for kind in uncounted | {ScopeKind.WORKLOAD}}
            for kind in KINDS:
                assert agree({**besides.usage, **needed.usage}[scopes[kind]], expected[kind]), (counted, kind)


def test_what_is_known_is_not_read_again_and_what_is_not_needed_is_not_told(busy: Store) -> None:
    with busy.begin() as work:
        plan = view(work)
        team, workload = (plan.counting(kind) for kind in (ScopeKind.TEAM, ScopeKind.WORKLOAD))
        known = Facts({workload: ScopeUsage({}, Decimal(5)), CountingScope(ScopeKind.GLOBAL, ""): ScopeUsage({})})
        found = work.facts.load(FactsNeeded(usage=frozenset([team, workload]), prices=True), plan, work.now, known)
        assert found.usage.keys() == {team, workload}
        assert found.usage[workload].month_to_date_usd == 5
        assert found.usage[team].by_sku.keys() == {"L4", "H100"}
        assert found.priced_on is not None
        assert work.facts.load(FactsNeeded(), plan, work.now, found) == Facts()


def test_the_price_is_the_clusters_own_where_it_has_one(busy: Store) -> None:
    with busy.begin() as work:
        general = around(work, view(work)).priced_on
        prices = work.catalogue.prices()
        assert general is not None
        old, new = general - timedelta(days=900), general + timedelta(days=30)
        oldest = next(price for price in prices if price.kind is PriceKind.CPU)
        work.catalogue.set_prices([Price(PriceKind.CPU, oldest.usd_per_hour, "contract", old)])
        assert around(work, view(work)).priced_on == old
        work.catalogue.set_prices([Price(PriceKind.GPU, oldest.usd_per_hour, "contract", old, sku="T4")])
        for kind, sku in ((PriceKind.CPU, ""), (PriceKind.MEMORY, ""), (PriceKind.GPU, "L4")):
            work.catalogue.set_prices([Price(kind, oldest.usd_per_hour, "contract", new, sku=sku, cluster="local")])
        assert around(work, view(work)).priced_on == new
        assert work.facts.load(FactsNeeded(prices=True), view(work), work.now).priced_on == new


def test_an_empty_ledger_holds_nothing_and_that_is_known(store: Store, deliver: Deliver) -> None:
    deliver.submit("a")
    with store.begin() as work:
        found = around(work, view(work))
    assert {scope.kind for scope in found.usage} == set(KINDS)
    assert all(known == ScopeUsage({}) for known in found.usage.values())


@pytest.fixture
def plan(deliver: Deliver, store: Store) -> PlanView:
    """A plan that has taken no action yet."""
    deliver.submit("a")
    with store.read() as work:
        return view(work)


def actions_of(work: UnitOfWork, plan: PlanView, kind: ScopeKind, *verbs: Verb, most: int, skip: int = 0) -> list[int]:
    """How many seconds ago each was, the newest first."""
    query = ActionQuery(plan.counting(kind), verbs, PLENTY, most, skip)
    times = work.facts.load(FactsNeeded(actions=frozenset([query])), plan, work.now).actions[query]
    return [round((work.now - moment).total_seconds()) for moment in reversed(times)]


@pytest.mark.parametrize("kind", KINDS)
def test_actions_are_those_of_the_scope_and_the_verbs_newest_first(
    store: Store, plan: PlanView, kind: ScopeKind
) -> None:
    take(store, plan, Verb.DEPLOY, 3, ago=100)
    take(store, plan, Verb.SCALE, 3, ago=200)
    take(store, plan, Verb.UPDATE, 3, ago=300)
    take(store, plan, Verb.DEPLOY, 3, ago=90_000)
    elsewhere = {"workload": str(uuid.uuid4()), "team": "other", "cluster": "other"}
    take(store, plan, Verb.DEPLOY, 0 if kind is ScopeKind.GLOBAL else 3, ago=1, **elsewhere)
    with store.begin() as work:
        assert actions_of(work, plan, kind, most=7) == pytest.approx([100, 101, 102, 200, 201, 202, 300], abs=5)
        found = actions_of(work, plan, kind, Verb.UPDATE, Verb.DEPLOY, most=3, skip=2)
        assert found == pytest.approx([102, 300, 301], abs=5)
        assert actions_of(work, plan, kind, Verb.ROLLBACK, most=3) == []


def test_a_rate_limit_on_a_rare_verb_reads_no_actions_of_other_verbs(
    store: Store, plan: PlanView, owner_engine: sa.Engine
) -> None:
    take(store, plan, Verb.SCALE, 3000, ago=1)
    take(store, plan, Verb.DEPLOY, 2, ago=5000)
    analyze(owner_engine)
    for kind in KINDS:
        with store.begin() as work:
            before = rows_read(work)
            assert len(actions_of(work, plan, kind, Verb.DEPLOY, most=5)) == 2
            assert rows_read(work) - before < 300, "what earlier tests have deleted may still be in an index"


def test_of_many_actions_no_more_are_read_than_a_limit_asks_for(
    store: Store, plan: PlanView, owner_engine: sa.Engine
) -> None:
    for verb in (Verb.SCALE, Verb.DEPLOY):
        take(store, plan, verb, 3000, ago=1)
    analyze(owner_engine)
    for kind in KINDS:
        with store.begin() as work:
            before = rows_read(work)
            assert len(actions_of(work, plan, kind, most=10)) == 10
            assert rows_read(work) - before < 300


def test_of_a_high_limit_one_action_says_when_it_is_free_again(store: Store, plan: PlanView) -> None:
    """It is the N-th newest, of any verb, and the plan is approved when it leaves the window."""
    limit = {"type": "rate_limit", "scope": "global", "actions": 2_000, "window": "P1D"}
    policy = stored("many", limit)
    for count, approved in ((1_999, True), (1, False), (5, False)):
        take(store, plan, Verb.SCALE, count, ago=10)
        with store.begin() as work:
            facts = work.facts.load(facts_needed(plan, [policy]), plan, work.now)
            assert sum(len(times) for times in facts.actions.values()) <= 2
            assert evaluate(plan, [policy], facts, work.now).approved is approved
    [violation] = evaluate(plan, [policy], facts, work.now).violations
    assert "more than 2000 actions" in violation.message
    assert violation.until is not None
    ahead = (violation.until - work.now).total_seconds()
    assert ahead == pytest.approx(86_400 - 2_003, abs=10), "five actions later than the first 2,000"


def test_totals_are_read_without_the_usage_of_other_teams(
    store: Store, plan: PlanView, owner_engine: sa.Engine
) -> None:
    with owner_engine.begin() as connection:
        connection.execute(_OTHER_TEAMS)
    with owner_engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # What earlier tests have deleted is read as well as long as it is in an index.
        connection.execute(sa.text("VACUUM (ANALYZE, INDEX_CLEANUP ON) usage"))
    expected = {}
    with store.begin() as work:
        # PostgreSQL takes 500 rows for so few that it may read them all.
        connection_of(work).execute(sa.text("SET LOCAL enable_seqscan = off"))
        scopes = [plan.counting(kind) for kind in COUNTED]
        before = rows_read(work, "usage")
        found = work.ledger.usage(scopes)
        assert rows_read(work, "usage") - before == 0
        expected = {scope: told_by_rows(work, plan, scope.kind) for scope in scopes}
    assert all(agree(found[scope], expected[scope]) for scope in scopes)
    assert found[plan.counting(ScopeKind.GLOBAL)].by_sku["L4"].gpus == 500


_OTHER_TEAMS = sa.text("""
    INSERT INTO usage (team, cluster, sku, replicas, cpu, memory, gpus, usd_per_hour, accrued_usd)
    SELECT 'team-' || n, 'local', 'L4', 1, 1, 1, 1, 0.5, 0.25 FROM generate_series(1, 500) AS n
""")
