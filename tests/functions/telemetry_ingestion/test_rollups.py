"""Rollups equal the samples that are stored, whatever their order and however often and late they came."""

from __future__ import annotations

import itertools
import math
import random
import uuid
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import fmean
from typing import Any

import pytest
import sqlalchemy as sa

from shared.models.retention import Retention
from shared.operations import telemetry as telemetry_operations
from shared.operations.telemetry import roll_up
from shared.telemetry.fields import GPU_FIELDS
from shared.telemetry.rollups import ROLLUPS, rollup_columns
from tests.functions.telemetry_ingestion.conftest import Telemetry, gpu
from tests.support.builders import connection_of, in_parallel

HELD = {"namespace": "search", "pod": "web-7d9f6c8b5-x2x7k", "container": "main"}
COLUMNS = list(rollup_columns(GPU_FIELDS))


def expected(samples: list[dict[str, Any]], seconds: int) -> dict[tuple[str, str, datetime], dict[str, Any]]:
    """Rollups of stored samples, as anybody would work them out."""
    buckets = defaultdict(list)
    for sample in samples:
        epoch = sample["observed_at"].timestamp()
        start = datetime.fromtimestamp(epoch - epoch % seconds, UTC)
        buckets[sample["node"], sample["gpu"], start].append(sample)
    return {key: _rollup(found) for key, found in buckets.items()}


def _rollup(samples: list[dict[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "samples": len(samples),
        "allocated_samples": sum(one["containers"] is not None for one in samples),
    }
    for column in COLUMNS:
        values = [one[column.field] for one in samples if one[column.field] is not None]
        made[column.name] = None if not values else fmean(values) if column.aggregate == "mean" else max(values)
    return made


def made(telemetry: Telemetry, table: str) -> dict[tuple[str, str, datetime], dict[str, Any]]:
    wanted = ("samples", "allocated_samples", *(column.name for column in COLUMNS))
    return {
        (row["node"], row["gpu"], row["starts_at"]): {name: row[name] for name in wanted}
        for row in telemetry.rows(table)
    }


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_rollups_equal_the_samples_whatever_the_order_and_duplication(telemetry: Telemetry, seed: int) -> None:
    """Every sample comes one to three times, shuffled, with ticks between; some come after their hour was made."""
    chance = random.Random(seed)
    readings = []
    for node, minute in itertools.product(("a", "b"), (150, 149, 95, 94, 20, 3)):
        for second in chance.sample(range(60), 3):
            at = telemetry.minute(minute) + timedelta(seconds=second, microseconds=chance.randrange(10**6))
            gpus = []
            for number in chance.sample(range(4), chance.randrange(1, 4)):
                names = chance.sample(list(GPU_FIELDS), 12)
                metrics = {name: chance.uniform(GPU_FIELDS[name].minimum, GPU_FIELDS[name].maximum) for name in names}
                gpus.append(gpu(number, metrics=metrics, containers=[HELD] * chance.randrange(2)))
            readings.append((node, at, gpus))
    sent = [one for one in readings for _ in range(chance.randrange(1, 4))]
    chance.shuffle(sent)
    for number, (node, at, gpus) in enumerate(sent):
        assert telemetry.send(*gpus, node=node, at=at).status == 202
        if number % 11 == 0:
            telemetry.tick()
    with telemetry.store.transaction(telemetry.now + timedelta(hours=2)) as work:  # when the last hour is over
        roll_up(work, Retention())
    samples = telemetry.rows("gpu_samples")
    assert len({(row["node"], row["observed_at"]) for row in samples}) == len(readings)
    for table, seconds in (("gpu_minutes", 60), ("gpu_hours", 3600)):
        found, wanted = made(telemetry, table), expected(samples, seconds)
        assert found.keys() == wanted.keys()
        for key, name in itertools.product(wanted, next(iter(wanted.values()))):
            value, other = wanted[key][name], found[key][name]
            assert value is other is None or math.isclose(value, other, rel_tol=1e-12), (table, key, name)
    assert telemetry.rows("pending_rollups") == []


def test_a_minute_is_made_when_it_is_over_and_again_for_a_late_sample(telemetry: Telemetry) -> None:
    telemetry.send(gpu(0), at=telemetry.now)
    telemetry.send(gpu(0, metrics={"utilization_percent": 10}), at=telemetry.minute(3))
    telemetry.tick()
    [row] = telemetry.rows("gpu_minutes")
    assert (row["starts_at"], row["samples"], row["utilization_percent_mean"]) == (telemetry.minute(3), 1, 10)
    late = telemetry.minute(3) + timedelta(seconds=30)
    telemetry.send(gpu(0, metrics={"utilization_percent": 30}), at=late)
    telemetry.tick()
    [row] = telemetry.rows("gpu_minutes")
    assert (row["samples"], row["utilization_percent_mean"], row["utilization_percent_max"]) == (2, 20, 30)


def test_ticks_at_once_make_each_rollup_once(telemetry: Telemetry) -> None:
    for minute in range(10, 20):
        telemetry.send(gpu(0), gpu(1), at=telemetry.minute(minute))
    in_parallel(*[telemetry.tick] * 4)
    telemetry.tick()
    assert [row["samples"] for row in telemetry.rows("gpu_minutes")] == [1] * 20
    assert telemetry.rows("pending_rollups WHERE rollup = 'gpu_minutes'") == []


def test_samples_that_come_while_rollups_are_made_are_in_them(telemetry: Telemetry) -> None:
    """Whoever sends and whoever makes rollups do not wait for each other, and nothing is missed."""
    moments = [telemetry.minute(5) + timedelta(seconds=number) for number in range(40)]

    def send(part: int) -> None:
        for at in moments[part::4]:
            assert telemetry.send(gpu(part), node=f"n{part}", at=at).status == 202

    in_parallel(*(partial(send, part) for part in range(4)), partial(telemetry.tick, 10), partial(telemetry.tick, 10))
    telemetry.tick()
    assert sum(row["samples"] for row in telemetry.rows("gpu_minutes")) == len(moments)


def test_a_tick_makes_a_bounded_part_oldest_first(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    few = tuple(replace(one, most=3) for one in ROLLUPS)
    monkeypatch.setattr(telemetry_operations, "ROLLUPS", few)
    for minute in range(10, 15):
        telemetry.send(gpu(0), at=telemetry.minute(minute))
    telemetry.tick()
    assert [row["starts_at"] for row in telemetry.rows("gpu_minutes")] == [
        telemetry.minute(ago) for ago in (14, 13, 12)
    ]
    telemetry.tick()
    assert len(telemetry.rows("gpu_minutes")) == 5


def test_what_workloads_report_is_rolled_up_by_the_time_of_arrival(telemetry: Telemetry) -> None:
    workload, now = uuid.uuid4(), telemetry.now
    samples = [
        (now - timedelta(hours=2), {"up": 1.0, "requests": 900.0, "latency_p95_seconds": 0.2}),
        (now - timedelta(hours=1), {"up": 0.0, "errors": 5.0, "latency_p95_seconds": 1.5}),
        (now + timedelta(hours=1), {"requests": 100.0}),
    ]
    telemetry.report(workload, *samples)
    telemetry.report(workload, *samples)
    telemetry.tick()
    rows = telemetry.rows("workload_minutes", "1, 2")
    assert {row["workload_id"] for row in rows} == {workload}
    assert all(row["starts_at"] >= telemetry.minute(0) for row in rows)
    sums = {name: sum(row[name] for row in rows) for name in ("samples", "up_samples", "up", "requests", "errors")}
    assert sums == {"samples": 3, "up_samples": 2, "up": 1, "requests": 1000, "errors": 5}
    latencies = [(row["latency_p95_seconds"], row["latency_p95_weight"]) for row in rows]
    assert latencies == [(900 * 0.2 + 1.5, 901)]


def partitions(telemetry: Telemetry) -> set[str]:
    found = telemetry.rows("pg_class WHERE relkind = 'r' AND relnamespace = CAST('partitions' AS regnamespace)", "1")
    return {row["relname"] for row in found}


def test_retention_drops_whole_partitions_and_keeps_those_of_today_and_tomorrow(telemetry: Telemetry) -> None:
    days = [telemetry.now.date() + timedelta(days=days) for days in (-40, -5, -2, 0, 1)]
    with telemetry.store.begin() as work:
        for table in ("gpu_samples", "gpu_minutes", "gpu_hours"):
            moments = [datetime(day.year, day.month, day.day, tzinfo=UTC) for day in days]
            work.telemetry.make_partitions(table, moments)
        roll_up(work, Retention())
    left = partitions(telemetry)
    assert [f"gpu_samples_{day:%Y_%m_%d}" in left for day in days] == [False, False, True, True, True]
    assert [f"gpu_minutes_{day:%Y_%m_%d}" in left for day in days] == [False, True, True, True, True]
    assert {f"gpu_hours_{day:%Y_%m}" for day in days} <= left
    with telemetry.store.begin() as work:
        roll_up(work, Retention(hours=timedelta(days=7)))
    assert f"gpu_hours_{telemetry.now - timedelta(days=40):%Y_%m}" not in partitions(telemetry)


def test_nothing_is_dropped_while_rollups_lag_behind(telemetry: Telemetry) -> None:
    day = telemetry.now - timedelta(days=6)
    with telemetry.store.begin() as work:
        work.telemetry.make_partitions("gpu_samples", [day])
        note = "INSERT INTO pending_rollups VALUES ('other', '', '', now(), now() - interval '2 hours')"
        connection_of(work).execute(sa.text(note))
    telemetry.tick()
    assert f"gpu_samples_{day:%Y_%m_%d}" in partitions(telemetry)
    with telemetry.store.begin() as work:
        connection_of(work).execute(sa.text("DELETE FROM pending_rollups"))
    telemetry.tick()
    assert f"gpu_samples_{day:%Y_%m_%d}" not in partitions(telemetry)
