"""The ledger: usage is always the sum of the reservations, and nothing is sold twice."""

import random
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import partial

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import StoreUnavailable
from shared.models.amounts import Amounts
from shared.models.reservation import Reservation
from shared.models.retention import DEFAULT_RETENTION
from shared.policy.vocabulary import CountingScope, ScopeKind
from shared.store import ledger as ledger_module
from shared.store.unit_of_work import Store, UnitOfWork
from tests.support.builders import connection_of, in_parallel, rows

HOLD = timedelta(minutes=10)
MICROSECOND = timedelta(microseconds=1)
MICROSECONDS_OF_AN_HOUR = timedelta(hours=1) // MICROSECOND
WORKLOADS = [uuid.UUID(int=n) for n in range(1, 4)]
TEAMS = dict(zip(WORKLOADS, ["search", "search", "ads"], strict=True))


def amounts(gpus: int) -> Amounts:
    return Amounts(gpus, 250 * gpus, 3 * gpus, gpus, Decimal("0.000001") * gpus)


def reservation(workload: uuid.UUID, lines: Mapping[str, int], cluster: str = "local") -> Reservation:
    held = {sku: amounts(count) for sku, count in lines.items()}
    return Reservation(workload, cluster, TEAMS.get(workload, "search"), held)


def hold(store: Store, workload: uuid.UUID, lines: Mapping[str, int], cluster: str = "local") -> uuid.UUID:
    """The id of the plan that it is held for."""
    plan = uuid.uuid4()
    with store.begin() as work:
        work.ledger.hold(reservation(workload, lines, cluster), plan, work.now + HOLD)
    return plan


def usage_is_the_sum(engine: sa.Engine) -> bool:
    sums = "sum(replicas), sum(cpu), sum(memory), sum(gpus), sum(usd_per_hour)"
    held = f"SELECT team, cluster, sku, {sums} FROM reservations GROUP BY 1, 2, 3 HAVING sum(replicas) <> 0"
    used = f"SELECT team, cluster, sku, {sums} FROM usage GROUP BY 1, 2, 3 HAVING sum(replicas) <> 0"
    with engine.connect() as connection:
        return set(connection.execute(sa.text(held)).all()) == set(connection.execute(sa.text(used)).all())


def gpus(store: Store, kind: ScopeKind, key: str = "") -> dict[str, int]:
    with store.begin() as work:
        scope = CountingScope(kind, key)
        found = work.ledger.usage([scope])[scope].by_sku
    return {sku: held.gpus for sku, held in found.items() if held.gpus}


def test_usage_by_workload_team_cluster_and_everything(store: Store) -> None:
    first, second, third = WORKLOADS
    hold(store, first, {"L4": 2, "H100": 1})
    hold(store, second, {"L4": 3}, cluster="other")
    hold(store, third, {"L4": 4})
    assert gpus(store, ScopeKind.WORKLOAD, str(first)) == {"L4": 2, "H100": 1}
    assert gpus(store, ScopeKind.TEAM, "search") == {"L4": 5, "H100": 1}
    assert gpus(store, ScopeKind.CLUSTER, "local") == {"L4": 6, "H100": 1}
    assert gpus(store, ScopeKind.GLOBAL) == {"L4": 9, "H100": 1}
    assert gpus(store, ScopeKind.TEAM, "nobody") == {}


def test_a_hold_replaces_what_the_workload_held(store: Store, owner_engine: sa.Engine) -> None:
    hold(store, WORKLOADS[0], {"L4": 2, "H100": 1})
    hold(store, WORKLOADS[0], {"L4": 5})
    assert gpus(store, ScopeKind.GLOBAL) == {"L4": 5}
    assert [row["sku"] for row in rows(owner_engine, "reservations")] == ["L4"]


def test_a_hold_is_committed_until_it_expires(store: Store, owner_engine: sa.Engine) -> None:
    plan = hold(store, WORKLOADS[0], {"L4": 2, "H100": 1})
    with store.begin() as work:
        assert not work.ledger.commit(plan, work.now + HOLD + timedelta(seconds=1))
        assert not work.ledger.commit(uuid.uuid4(), work.now)
        assert work.ledger.commit(plan, work.now + HOLD - timedelta(seconds=1))
        assert work.ledger.commit(plan, work.now + timedelta(days=1)), "what is committed does not expire"
    assert {row["state"] for row in rows(owner_engine, "reservations")} == {"committed"}
    assert {row["expires_at"] for row in rows(owner_engine, "reservations")} == {None}


def test_settling_makes_it_what_runs_and_nothing_releases_it(store: Store, owner_engine: sa.Engine) -> None:
    first, second, _ = WORKLOADS
    hold(store, first, {"L4": 5, "H100": 1})
    hold(store, second, {"L4": 5})
    with store.begin() as work:
        work.ledger.settle([(reservation(first, {"L4": 2}), uuid.uuid4()), (reservation(second, {}), uuid.uuid4())])
    assert gpus(store, ScopeKind.GLOBAL) == {"L4": 2}
    assert [row["state"] for row in rows(owner_engine, "reservations")] == ["committed"]


def test_usage_that_counts_nothing_goes_once_its_month_is_over(store: Store, owner_engine: sa.Engine) -> None:
    first, second, _ = WORKLOADS
    hold(store, first, {"L4": 1, "H100": 1})
    hold(store, second, {"A100-80GB": 1})
    with store.begin() as work:
        work.ledger.settle([(reservation(first, {}), uuid.uuid4())])
    with owner_engine.begin() as connection:
        past = "UPDATE usage SET accrued_at = accrued_at - interval '32 days' WHERE sku <> 'H100'"
        connection.execute(sa.text(past))
    with store.begin() as work:
        work.forget_old(DEFAULT_RETENTION, 10)
    assert {row["sku"] for row in rows(owner_engine, "usage")} == {"H100", "A100-80GB"}


def totals(owner: sa.Engine) -> dict[tuple[str, str], int]:
    """The GPUs that the totals say, by cluster and SKU; of everything the cluster is empty."""
    found: dict[tuple[str, str], int] = {}
    for row in rows(owner, "usage_totals"):
        key = (row["cluster"], row["sku"])
        found[key] = found.get(key, 0) + row["gpus"]
    return {key: gpus for key, gpus in found.items() if gpus}


def test_totals_follow_whatever_is_written_in_usage(store: Store, owner_engine: sa.Engine) -> None:
    hold(store, WORKLOADS[0], {"L4": 3, "H100": 1})
    hold(store, WORKLOADS[1], {"L4": 2}, cluster="other")
    expected = {("local", "L4"): 3, ("local", "H100"): 1, ("other", "L4"): 2, ("", "L4"): 5, ("", "H100"): 1}
    assert totals(owner_engine) == expected
    with owner_engine.begin() as connection:
        connection.execute(sa.text("UPDATE usage SET gpus = 7, cluster = 'third' WHERE cluster = 'other'"))
        connection.execute(sa.text("DELETE FROM usage WHERE sku = 'H100'"))
    assert totals(owner_engine) == {("local", "L4"): 3, ("third", "L4"): 7, ("", "L4"): 10}
    with store.begin() as work:
        work.ledger.rename_sku("L4", "L40S")
    assert totals(owner_engine) == {("local", "L40S"): 3, ("third", "L40S"): 7, ("", "L40S"): 10}


def test_a_total_changes_once_however_many_rows_a_statement_writes(store: Store, owner_engine: sa.Engine) -> None:
    """A row at a time, each change would read past those before it: 10,000 rows would take over 10 s."""
    with owner_engine.begin() as connection:
        connection.execute(_TEAMS)
        written = "SELECT pg_stat_get_xact_tuples_updated('usage_totals'::regclass)"
        before = connection.execute(sa.text(written)).scalar_one()
        connection.execute(sa.text("UPDATE usage SET gpus = 2"))
        assert connection.execute(sa.text(written)).scalar_one() - before == 2
        connection.execute(sa.text("UPDATE usage SET gpus = 0, replicas = 0"))
        before = connection.execute(sa.text(written)).scalar_one()
        connection.execute(sa.text("DELETE FROM usage"))
        assert connection.execute(sa.text(written)).scalar_one() == before, "what counts nothing changes nothing"
    assert totals(owner_engine) == {}


_TEAMS = sa.text("""
    INSERT INTO usage (team, cluster, sku, replicas, cpu, memory, gpus, usd_per_hour)
    SELECT 'team-' || n, 'local', 'L4', 1, 0, 0, 1, 0 FROM generate_series(1, 50) AS n
""")


def test_transactions_that_count_in_one_cluster_do_not_wait_for_each_other(
    store: Store, owner_engine: sa.Engine
) -> None:
    """Each adds to a total that nobody has locked, and they use the same ones again."""
    for _ in range(2):
        with store.begin() as first, store.begin() as second:
            for work, workload, team in ((first, WORKLOADS[0], "search"), (second, WORKLOADS[1], "ads")):
                connection_of(work).execute(sa.text("SET LOCAL lock_timeout = '1ms'"))
                held = Reservation(workload, "local", team, {"L4": Amounts(1, 0, 0, 1, Decimal(1))})
                work.ledger.hold(held, uuid.uuid4(), work.now + HOLD)
        with store.begin() as work:
            for workload, team in ((WORKLOADS[0], "search"), (WORKLOADS[1], "ads")):
                work.ledger.settle([(Reservation(workload, "local", team, {}), uuid.uuid4())])
    hold(store, WORKLOADS[2], {"L4": 1})
    assert totals(owner_engine) == {("local", "L4"): 1, ("", "L4"): 1}
    assert len(rows(owner_engine, "usage_totals")) == 4


def test_leaving_releases_other_clusters_only(store: Store) -> None:
    for cluster in ("local", "other", "third"):
        hold(store, WORKLOADS[0], {"L4": 1}, cluster=cluster)
    hold(store, WORKLOADS[1], {"L4": 1}, cluster="other")
    with store.begin() as work:
        work.ledger.release_elsewhere(work.ledger.holdings(WORKLOADS[0]), "search", "local")
    assert gpus(store, ScopeKind.WORKLOAD, str(WORKLOADS[0])) == {"L4": 1}
    assert gpus(store, ScopeKind.TEAM, "search") == {"L4": 2}
    assert gpus(store, ScopeKind.CLUSTER, "third") == {}


def test_workloads_that_change_places_do_not_wait_for_each_other(store: Store) -> None:
    """The second waits before it has locked anything, so that the first can go on."""
    one, other = WORKLOADS[:2]
    hold(store, one, {"L4": 1}, cluster="zeta")
    hold(store, other, {"L4": 2}, cluster="alpha")
    with store.begin() as first:
        first.ledger.release_elsewhere(first.ledger.holdings(one), "search", "alpha")
        with store.begin() as second:
            connection_of(second).execute(sa.text("SET LOCAL lock_timeout = '1ms'"))
            holdings = second.ledger.holdings(other)
            with pytest.raises(StoreUnavailable), second.savepoint():
                second.ledger.release_elsewhere(holdings, "search", "zeta")
        first.ledger.hold(reservation(one, {"L4": 1}, "alpha"), uuid.uuid4(), first.now + HOLD)
    assert gpus(store, ScopeKind.CLUSTER, "alpha") == {"L4": 3}


LINES = st.dictionaries(st.sampled_from(["", "L4", "H100"]), st.integers(0, 9), max_size=3)
STEP = st.tuples(
    st.sampled_from(["hold", "settle", "release", "leave", "rollback"]),
    st.sampled_from(WORKLOADS),
    st.sampled_from(["local", "other"]),
    LINES,
)


def take(work: UnitOfWork, step: str, workload: uuid.UUID, cluster: str, lines: Mapping[str, int]) -> None:
    match step:
        case "leave":
            work.ledger.release_elsewhere(work.ledger.holdings(workload), TEAMS[workload], cluster)
        case "settle":
            work.ledger.settle([(reservation(workload, lines, cluster), uuid.uuid4())])
        case "release":
            work.ledger.settle([(reservation(workload, {}, cluster), uuid.uuid4())])
        case _:
            work.ledger.hold(reservation(workload, lines, cluster), uuid.uuid4(), work.now + HOLD)


class Undone(Exception):
    """Rolls a transaction back."""


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEP, max_size=12))
def test_usage_is_the_sum_of_reservations_after_any_operations(
    store: Store, owner_engine: sa.Engine, steps: list[tuple[str, uuid.UUID, str, dict[str, int]]]
) -> None:
    for step in steps:
        try:
            with store.begin() as work:
                take(work, *step)
                if step[0] == "rollback":
                    raise Undone
        except Undone:
            pass
    assert usage_is_the_sum(owner_engine)


UNEVEN = Decimal("7123456.789123")
"""Dollars an hour of a replica: so much that the moments between two transactions cost something."""

NO_ROUNDING = Decimal("1e-9")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(WORKLOADS), LINES), min_size=1, max_size=15))
def test_what_is_charged_adds_up_to_the_exact_cost_after_any_charges(
    store: Store, owner_engine: sa.Engine, steps: list[tuple[uuid.UUID, dict[str, int]]]
) -> None:
    with owner_engine.begin() as connection:
        for table in ("reservations", "usage", "workload_costs"):
            connection.execute(sa.text(f"DELETE FROM {table}"))
    exact = dict.fromkeys(WORKLOADS, Fraction(0))
    rates = dict.fromkeys(WORKLOADS, Fraction(0))
    since: datetime | None = None
    for workload, lines in [*steps, (WORKLOADS[0], {})]:
        priced = {sku: Amounts(count, usd_per_hour=UNEVEN * count) for sku, count in lines.items()}
        with store.begin() as work:
            for other in WORKLOADS:
                exact[other] += rates[other] * ((work.now - since) // MICROSECOND if since else 0)
            since = work.now
            work.ledger.settle([(Reservation(workload, "local", TEAMS[workload], priced), uuid.uuid4())])
            rates[workload] = Fraction(UNEVEN) * sum(lines.values()) / MICROSECONDS_OF_AN_HOUR
            for team in {TEAMS[other] for other in WORKLOADS}:
                mine = [other for other in WORKLOADS if TEAMS[other] == team]
                cost = sum(exact[other] for other in mine)
                charged = sum(spent(work, ScopeKind.WORKLOAD, str(other)) for other in mine)
                assert abs(Fraction(spent(work, ScopeKind.TEAM, team)) - cost) < NO_ROUNDING
                assert abs(Fraction(charged) - cost) < NO_ROUNDING


def spent(work: UnitOfWork, kind: ScopeKind, key: str) -> Decimal:
    scope = CountingScope(kind, key)
    return work.ledger.usage([scope])[scope].month_to_date_usd


def test_usage_is_the_sum_after_many_at_once(store: Store, owner_engine: sa.Engine) -> None:
    def work_through(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(8):
            workload = uuid.UUID(int=100 + seed)  # a workload's row lock keeps others away from its lines
            lines = {sku: choose.randrange(5) for sku in ("L4", "H100", "") if choose.random() < 0.7}
            hold(store, workload, lines)

    in_parallel(*(partial(work_through, seed) for seed in range(6)))
    assert usage_is_the_sum(owner_engine)


@pytest.mark.parametrize("kind", [ScopeKind.TEAM, ScopeKind.CLUSTER, ScopeKind.GLOBAL])
def test_deciding_at_once_never_oversells_by_one(store: Store, owner_engine: sa.Engine, kind: ScopeKind) -> None:
    scope = CountingScope(kind, {ScopeKind.TEAM: "search", ScopeKind.CLUSTER: "local"}.get(kind, ""))
    quota = 7

    def buy(number: int) -> bool:
        with store.begin() as work:
            work.ledger.lock_scopes([scope])
            used = sum(held.gpus for held in work.ledger.usage([scope])[scope].by_sku.values())
            if used + 2 > quota:
                return False
            work.ledger.hold(reservation(uuid.UUID(int=1000 + number), {"L4": 2}), uuid.uuid4(), work.now + HOLD)
            return True

    bought = in_parallel(*(partial(buy, number) for number in range(8)))
    assert sum(bought) == 3
    assert gpus(store, kind, scope.key) == {"L4": 6}
    assert usage_is_the_sum(owner_engine)


def test_locking_the_same_scopes_in_any_order_never_deadlocks(store: Store) -> None:
    scopes = [CountingScope(ScopeKind.TEAM, f"team-{n}") for n in range(12)]

    def lock_all(seed: int) -> None:
        order = random.Random(seed).sample(scopes, len(scopes))
        for _ in range(5):
            with store.begin() as work:
                work.ledger.lock_scopes(order)

    in_parallel(*(partial(lock_all, seed) for seed in range(6)))


def test_teams_that_share_no_scope_never_wait_for_each_other(store: Store) -> None:
    with store.begin() as one:
        one.ledger.lock_scopes([CountingScope(ScopeKind.TEAM, "a"), CountingScope(ScopeKind.CLUSTER, "x")])
        with store.begin() as other:
            connection_of(other).execute(sa.text("SET LOCAL lock_timeout = '1ms'"))
            other.ledger.lock_scopes([CountingScope(ScopeKind.TEAM, "b"), CountingScope(ScopeKind.CLUSTER, "y")])
            other.ledger.lock_scopes([])


def test_scopes_have_numbers_of_their_own() -> None:
    scopes = [CountingScope(kind, key) for kind in ScopeKind for key in ("", "a", "b", "team")]
    numbers = {ledger_module._lock_number(scope) for scope in scopes}
    assert len(numbers) == len(scopes)
    assert all(-(2**63) <= number < 2**63 for number in numbers)
