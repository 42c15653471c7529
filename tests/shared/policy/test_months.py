"""Months and projections against counting hours by hand."""

from calendar import monthrange
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from shared.models.amounts import Amounts
from shared.policy.facts import Facts, ScopeUsage
from shared.policy.months import cost, month_start, next_month
from shared.policy.vocabulary import ScopeKind
from tests.support.policies import HOUR, decide, known, stored, view

HOURS = st.datetimes(datetime(2024, 1, 1), datetime(2029, 1, 1)).map(  # noqa: DTZ001 - made aware below
    lambda t: t.replace(minute=0, second=0, microsecond=0, tzinfo=UTC)
)
ZONES = st.integers(-14, 14).map(lambda hours: timezone(timedelta(hours=hours)))


@given(HOURS, ZONES)
def test_a_month_is_that_of_utc_in_any_zone(moment: datetime, zone: timezone) -> None:
    first = datetime(moment.year, moment.month, 1, tzinfo=UTC)
    assert month_start(moment.astimezone(zone)) == first
    assert next_month(moment.astimezone(zone)) - first == timedelta(monthrange(moment.year, moment.month)[1])


@given(HOURS, st.integers(0, 20), st.integers(0, 20), st.integers(0, 20_000))
def test_a_projection_is_the_sum_of_the_hours_that_are_left(now: datetime, runs: int, adds: int, ceiling: int) -> None:
    expected, hour = Decimal(50), now
    while (hour.year, hour.month) == (now.year, now.month):
        expected += runs + adds
        hour += HOUR
    plan = view(lines={"L4": Amounts(usd_per_hour=Decimal(adds))})
    scope = ScopeUsage({"H100": Amounts(usd_per_hour=Decimal(runs))}, Decimal(50))
    facts = Facts({plan.counting(ScopeKind.TEAM): scope}, priced_on=now.date())
    policy = stored("a", {"type": "cost_ceiling", "scope": "team", "usd_per_month": ceiling})
    decision = decide(plan, [policy], facts, now)
    assert decision.approved is (expected <= ceiling or adds == 0)
    assert [Decimal(f.observed) for f in decision.violations] == [expected] * (not decision.approved)


def test_an_exact_cost_is_exact() -> None:
    assert cost(Decimal("0.3"), timedelta(minutes=10)) == Decimal("0.05")
    assert cost(Decimal("123456.789012"), timedelta(hours=744)) == Decimal("123456.789012") * 744


def test_a_plan_of_its_own_costs_from_now_to_the_end_of_the_month() -> None:
    now = datetime(2026, 1, 31, 20, tzinfo=UTC)
    plan = view(lines={"L4": Amounts(usd_per_hour=Decimal(2))})
    policy = {"type": "cost_ceiling", "scope": "plan", "usd_per_month": 8}
    assert decide(plan, [stored("a", policy)], known(plan), now).approved
    [finding] = decide(plan, [stored("a", {**policy, "usd_per_month": 7})], known(plan), now).violations
    assert finding.until == now + timedelta(minutes=30)
