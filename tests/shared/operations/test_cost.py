"""Costs: by every dimension they add up to what the ledger says, to the cent and beyond."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.models.amounts import Amounts
from shared.models.cost import CostDimension, CostReport
from shared.models.reservation import Reservation
from shared.models.retention import Retention
from shared.operations import cost
from shared.policy.documents import PolicyDocument
from shared.policy.months import month_start
from shared.store.unit_of_work import Store
from shared.telemetry.cost import idle_usd
from tests.support.builders import Deliver, connection_of, id_of, rows

TEAMS = ("search", "ads")
CLUSTERS = ("local", "east")
WORKLOADS = [uuid.UUID(int=number) for number in range(1, 4)]
NO_ROUNDING = Decimal("1e-9")
STEPS = st.lists(
    st.tuples(
        st.integers(0, len(WORKLOADS) - 1),
        st.sampled_from(CLUSTERS),
        st.dictionaries(st.sampled_from(["", "L4", "H100"]), st.integers(1, 4), max_size=2),
        st.integers(0, 80),
    ),
    min_size=1,
    max_size=8,
)


def settle(store: Store, workload: int, cluster: str, lines: dict[str, int]) -> None:
    amounts = {
        sku: Amounts(count, gpus=count if sku else 0, usd_per_hour=Decimal("3.333333") * count)
        for sku, count in lines.items()
    }
    held = Reservation(WORKLOADS[workload], cluster, TEAMS[workload % 2], amounts)
    with store.begin() as work:
        work.ledger.settle([(held, uuid.uuid4())])


def let_hours_pass(owner: sa.Engine, hours: int) -> None:
    """What is held has been held for so much longer."""
    with owner.begin() as connection:
        for table in ("reservations", "usage", "usage_totals"):
            connection.execute(sa.text(f"UPDATE {table} SET accrued_at = accrued_at - interval '{hours} hours'"))


def report(store: Store, by: CostDimension, since: datetime | None = None, **how: object) -> CostReport:
    teams = how.get("teams")
    assert teams is None or isinstance(teams, frozenset)
    with store.read() as work:
        return cost.report(work, by, since or month_start(work.now), teams, 100)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_costs_by_every_dimension_add_up_to_the_ledger(
    store: Store, owner_engine: sa.Engine, steps: list[tuple[int, str, dict[str, int], int]]
) -> None:
    with owner_engine.begin() as connection:
        for table in ("reservations", "usage", "usage_totals", "workload_costs"):
            connection.execute(sa.text(f"DELETE FROM {table}"))
    for workload, cluster, lines, hours in steps:
        settle(store, workload, cluster, lines)
        let_hours_pass(owner_engine, hours)
    with store.read() as work:
        for by in CostDimension:
            found = cost.report(work, by, month_start(work.now), None, 100)
            assert abs(found.total.usd - found.total.month_usd) < NO_ROUNDING
            assert found.total.usd == sum(line.usd for line in found.lines)
            long_ago = cost.report(work, by, work.now - timedelta(days=90), None, 100)
            expected = sum(Decimal(charged) for charged in charges(work.now, connection_of(work)))
            assert abs(long_ago.total.usd - expected) < NO_ROUNDING
            if by is not CostDimension.WORKLOAD:
                ledger = accrued_by(connection_of(work), by.value)
                assert {line.key for line in found.lines if line.month_usd} <= ledger.keys()
                for line in found.lines:
                    assert abs(line.month_usd - ledger[line.key]) < NO_ROUNDING


def accrued_by(connection: sa.Connection, column: str) -> dict[str, Decimal]:
    """What usage says that each has cost this month; that is what policy holds against ceilings."""
    statement = f"""
        SELECT {column} AS key, sum(CASE WHEN accrued_at >= first THEN accrued_usd ELSE 0 END
               + usd_per_hour * extract(epoch FROM now() - greatest(accrued_at, first)) / 3600) AS usd
          FROM usage, (SELECT date_trunc('month', now(), 'UTC') AS first) AS this GROUP BY {column}
    """
    return {row.key: Decimal(row.usd) for row in connection.execute(sa.text(statement))}


def charges(now: datetime, connection: sa.Connection) -> list[Decimal]:
    charged = connection.execute(sa.text("SELECT usd FROM workload_costs")).scalars().all()
    rate = "SELECT usd_per_hour * extract(epoch FROM :now - accrued_at) / 3600 FROM reservations"
    return [*charged, *connection.execute(sa.text(rate), {"now": now}).scalars()]


def test_a_charge_is_split_at_midnight(store: Store, owner_engine: sa.Engine) -> None:
    settle(store, 0, "local", {"L4": 2})
    let_hours_pass(owner_engine, 50)
    settle(store, 0, "local", {})
    found = sorted(rows(owner_engine, "workload_costs"), key=lambda row: row["day"])
    assert len(found) in (3, 4)
    assert [row["gpu_hours"] for row in found[1:-1]] == [48] * (len(found) - 2)
    assert abs(sum(row["gpu_hours"] for row in found) - 100) < Decimal("0.1")
    today = datetime.now(UTC).date()
    assert found[-1]["day"] == today
    whole_day = report(store, CostDimension.WORKLOAD, datetime.now(UTC) - timedelta(days=1))
    assert abs(whole_day.total.gpu_hours - sum(row["gpu_hours"] for row in found[-2:])) < NO_ROUNDING


def test_teams_see_their_own(store: Store, owner_engine: sa.Engine) -> None:
    for workload in range(3):
        settle(store, workload, "local", {"L4": 1})
    let_hours_pass(owner_engine, 1)
    settle(store, 0, "local", {"L4": 2})
    mine = report(store, CostDimension.WORKLOAD, datetime.now(UTC) - timedelta(days=3), teams=frozenset({"search"}))
    assert {line.key for line in mine.lines} == {str(WORKLOADS[0]), str(WORKLOADS[2])}
    assert [line.label for line in mine.lines] == [line.key for line in mine.lines], "these workloads are not stored"
    nobody = report(store, CostDimension.TEAM, teams=frozenset())
    assert not nobody.lines
    assert nobody.total.usd == 0


def ceiling(name: str, scope: str, usd: str, **fields: object) -> PolicyDocument:
    rule = {"type": "cost_ceiling", "scope": scope, "usd_per_month": usd}
    return PolicyDocument.model_validate({"name": name, "rules": [rule], **fields})


def test_a_forecast_stands_beside_the_lowest_ceiling_that_binds_everything(store: Store) -> None:
    settle(store, 0, "local", {"L4": 1})
    settle(store, 1, "east", {"L4": 1})
    with store.begin() as work:
        for name, usd, fields in (
            ("all", "900", {}),
            ("low", "70", {"selector": {"teams": ["search"]}}),
            ("some", "1", {"selector": {"verbs": ["deploy"]}}),
            ("dry", "1", {"mode": "dry_run"}),
        ):
            work.policies.put(ceiling(name, "team", usd, **fields), "ada")
        work.policies.put(ceiling("whole", "global", "5000"), "ada")
    found = report(store, CostDimension.TEAM)
    assert {line.key: line.ceiling_usd for line in found.lines} == {"search": 70, "ads": 900}
    assert found.total.ceiling_usd == 5000
    assert {line.ceiling_usd for line in report(store, CostDimension.SKU).lines} == {None}
    for line in found.lines:
        assert line.usd_per_hour == Decimal("3.333333")
        assert line.forecast_usd >= line.month_usd


def test_costs_of_this_month_and_of_the_last_days_stay(store: Store, owner_engine: sa.Engine) -> None:
    settle(store, 0, "local", {"L4": 1})
    let_hours_pass(owner_engine, 24 * 60)
    settle(store, 0, "local", {})
    before = len(rows(owner_engine, "workload_costs"))
    with store.begin() as work:
        work.forget_old(Retention(history=timedelta(days=35)), 10)
    assert len(rows(owner_engine, "workload_costs")) == before - 10
    with store.begin() as work:
        work.forget_old(Retention(history=timedelta(days=0)), 1000)
        first = month_start(work.now).date()
    assert {row["day"] >= first for row in rows(owner_engine, "workload_costs")} == {True}


def test_what_agents_observed_says_what_was_used_and_what_was_idle(
    store: Store, deliver: Deliver, owner_engine: sa.Engine
) -> None:
    deliver.decide("chat")
    let_hours_pass(owner_engine, 4)
    with owner_engine.begin() as connection:
        connection.execute(sa.text("SELECT make_partition('gpu_hours', now() - interval '3 hours')"))
        for gpu, percent, allocated in (("GPU-0", 100, 60), ("GPU-1", 50, 60), ("GPU-2", 100, 0), ("GPU-3", 40, 30)):
            values = {"gpu": gpu, "percent": percent, "allocated": allocated, "workload": id_of("chat")}
            connection.execute(sa.text(_HOUR), values)
    for by, key in (("team", "search"), ("workload", str(id_of("chat"))), ("sku", "L4"), ("cluster", "local")):
        found = report(store, CostDimension(by), datetime.now(UTC) - timedelta(days=1))
        [line] = [one for one in found.lines if one.key == key]
        assert line.used_gpu_hours == pytest.approx(Decimal("1.7"))
        assert line.gpu_hours == pytest.approx(8, rel=0.01)
        assert line.idle_usd == pytest.approx(line.usd * Decimal("0.8") / line.gpu_hours)
        assert found.total.idle_usd == line.idle_usd


_HOUR = """
    INSERT INTO gpu_hours (cluster, node, gpu, starts_at, samples, allocated_samples, workload_id, product,
                           utilization_percent_mean)
    VALUES ('local', 'l4-1', :gpu, date_trunc('hour', now() - interval '3 hours'), 60, :allocated, :workload,
            'NVIDIA L4', :percent)
"""


@pytest.mark.parametrize(
    ("paid", "allocated", "observed", "used", "idle"),
    [
        (100, 10, 10, 4, 60),
        (100, 10, 5, 5, 0),
        (100, 10, 5, 0, 50),
        (100, 10, 12, 6, 50),
        (100, 0, 1, 0, 0),
        (100, 10, 0, 0, 0),
    ],
)
def test_idle_is_what_was_observed_and_not_used(paid: int, allocated: int, observed: int, used: int, idle: int) -> None:
    assert idle_usd(Decimal(paid), Decimal(allocated), Decimal(observed), Decimal(used)) == idle
