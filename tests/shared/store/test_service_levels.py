"""What policy is told of a workload's service: the rollups of its windows, at a cost that telemetry does not raise."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from shared.operations.plan_view import stored_plan_view
from shared.policy.facts import FactsNeeded, ServiceLevel
from shared.store.unit_of_work import Store, UnitOfWork
from shared.telemetry.rollups import HOURS, MINUTES
from tests.support.builders import Deliver, connection_of, id_of

WORKBOOK = [timedelta(minutes=minutes) for minutes in (5, 30, 60, 120, 360, 1440, 4320)]
WINDOWS = [*WORKBOOK, timedelta(days=30)]
LATENCIES = {50: 0.1, 95: 0.2, 99: 0.4}

_ROW = """
    INSERT INTO {table} (workload_id, starts_at, samples, newest_at, up_samples, up, requests, errors,
                         latency_p50_seconds, latency_p50_weight, latency_p95_seconds, latency_p95_weight,
                         latency_p99_seconds, latency_p99_weight)
    SELECT CAST(:workload AS uuid), starts_at, {times} * 4, starts_at + interval '{length}' - interval '1 second',
           {times} * 4, {times} * 3, {times} * 100, {times}, {times} * 10, {times} * 100, {times} * 20, {times} * 100,
           {times} * 40, {times} * 100
      FROM generate_series(CAST(:first AS timestamptz), :last, interval '{length}') AS starts_at
"""
"""Each minute has 4 samples, of which 3 were up, and 100 requests, of which one failed."""


@pytest.fixture(autouse=True)
def _without_old_partitions(store: Store) -> Iterator[None]:
    yield
    with store.begin() as work:
        yesterday = work.now - timedelta(days=1)
        work.rollups.drop_partitions(dict.fromkeys((*MINUTES, *HOURS), yesterday))


def fill(store: Store, workload: uuid.UUID, age: timedelta) -> datetime:
    """A workload that has reported every minute of so long; returns PostgreSQL's clock."""
    with store.begin() as work:
        now = work.now
        hour, minute = now.replace(minute=0, second=0, microsecond=0), now.replace(second=0, microsecond=0)
        minutes = min(age, timedelta(days=2))
        for table, length, times, first, last in (
            ("workload_minutes", "1 minute", 1, minute - minutes, minute),
            ("workload_hours", "1 hour", 60, hour - age, hour - timedelta(hours=1)),
        ):
            days = (last - first).days + 2
            work.telemetry.make_partitions(table, [first + timedelta(days=day) for day in range(days)])
            values = {"workload": workload, "first": first, "last": last}
            connection_of(work).execute(sa.text(_ROW.format(table=table, length=length, times=times)), values)
        return now


def levels(work: UnitOfWork, workload: uuid.UUID, now: datetime, windows: list[timedelta]) -> dict[timedelta, Any]:
    found = work.workloads.get(workload)
    assert found is not None
    plan = work.plans.get(found.plan_id)
    assert plan is not None
    view = stored_plan_view(work, plan, found, [], work.ledger.reserved(workload, plan.decision.cluster))
    return dict(work.facts.load(FactsNeeded(windows=frozenset(windows)), view, now).service)


def rows_read(work: UnitOfWork, workload: uuid.UUID, now: datetime, windows: list[timedelta]) -> float:
    """How many rows and partitions PostgreSQL looks at for the service levels."""
    asked: list[Any] = []

    def note(*call: Any) -> None:
        if "workload_hours" in call[2]:
            asked.append(call[2:4])

    sa.event.listen(connection_of(work), "before_cursor_execute", note)
    levels(work, workload, now, windows)
    sa.event.remove(connection_of(work), "before_cursor_execute", note)
    [(statement, parameters)] = asked

    def count(node: dict[str, Any]) -> float:
        own = node["Actual Rows"] + node.get("Rows Removed by Filter", 0) if "Relation Name" in node else 0
        return float(own * node["Actual Loops"]) + sum(map(count, node.get("Plans", ())))

    explained = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}"
    [[plan]] = connection_of(work).exec_driver_sql(explained, parameters)
    return count(plan[0]["Plan"])


def test_service_levels_are_the_sums_of_the_windows_minutes_and_hours(store: Store, deliver: Deliver) -> None:
    deliver.decide()
    now = fill(store, id_of(), timedelta(days=40))
    with store.begin() as work:
        found = levels(work, id_of(), now, WINDOWS)
    for window in WINDOWS:
        level: ServiceLevel = found[window]
        longest = window // timedelta(minutes=1) + (60 if window > timedelta(days=1) else 1) + 1
        minutes = round(level.requests / 100)
        assert longest - 60 <= minutes <= longest
        assert (level.uptime, level.errors) == (0.75, minutes)
        assert {p: round(value, 9) for p, value in level.latency_seconds.items()} == LATENCIES
        assert level.newest is not None
        assert abs(level.newest - now) < timedelta(minutes=1)


def test_minutes_stand_in_for_hours_that_are_not_made_yet(store: Store, deliver: Deliver) -> None:
    deliver.decide()
    now = fill(store, id_of(), timedelta(days=4))
    with store.begin() as work:
        before = levels(work, id_of(), now, WORKBOOK)
        connection_of(work).execute(sa.text("DELETE FROM workload_hours WHERE starts_at > now() - interval '5 hours'"))
        assert levels(work, id_of(), now, WORKBOOK) == before


def test_a_decision_reads_no_more_of_400_days_than_of_the_window(store: Store, deliver: Deliver) -> None:
    deliver.decide("young")
    deliver.decide("old")
    now = fill(store, id_of("young"), timedelta(hours=7))
    fill(store, id_of("old"), timedelta(days=400))
    with store.begin() as work:
        read = {name: rows_read(work, id_of(name), now, WORKBOOK[:5]) for name in ("young", "old")}
        assert read["old"] <= read["young"] + 5
        of_a_month = rows_read(work, id_of("old"), now, [timedelta(days=30)])
    assert of_a_month < 30 * 24 + 3 * 60
