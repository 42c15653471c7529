"""Which minutes are asked for, and what an answer means."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from shared.models.collection import CollectedSample, Collection, Series
from shared.telemetry.collection import (
    GAP,
    by_workload,
    clock_offset,
    is_found,
    minutes_to_collect,
    of_one,
    of_workload,
    samples,
)
from shared.telemetry.service_queries import SOURCES

NOW = datetime(2026, 11, 29, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TOP = NOW.replace(second=0)
WEB = uuid.UUID(int=1)


def collection(until: datetime | None = None, **fields: object) -> Collection:
    return Collection("istio", None, 1, until, **fields)  # type: ignore[arg-type]


def test_the_first_time_the_last_minute_is_asked_for() -> None:
    assert minutes_to_collect(collection(), NOW) == [TOP]


def test_a_minute_is_asked_for_once_and_when_it_can_be_answered() -> None:
    assert minutes_to_collect(collection(TOP), NOW) == []
    assert minutes_to_collect(collection(TOP - MINUTE), TOP + timedelta(seconds=19)) == []
    assert minutes_to_collect(collection(TOP - MINUTE), TOP + timedelta(seconds=20)) == [TOP]
    assert minutes_to_collect(collection(TOP + timedelta(hours=1)), NOW) == []  # the clock was put back


def test_a_gap_is_filled_oldest_first_a_part_at_a_time_and_within_a_bound() -> None:
    gap = minutes_to_collect(collection(TOP - 3 * MINUTE), NOW)
    assert gap == [TOP - 2 * MINUTE, TOP - MINUTE, TOP]
    long = minutes_to_collect(collection(TOP - timedelta(hours=3)), NOW)
    assert (long[0], len(long), long[-1]) == (TOP - 179 * MINUTE, 120, TOP - 60 * MINUTE)
    assert minutes_to_collect(collection(TOP - timedelta(days=9)), NOW)[0] == TOP - GAP


def test_less_is_asked_for_of_many_workloads_and_after_failures() -> None:
    since = TOP - timedelta(hours=3)
    assert len(minutes_to_collect(collection(since, workloads=10_000), NOW)) == 2
    assert len(minutes_to_collect(collection(since, workloads=100_000), NOW)) == 1
    assert len(minutes_to_collect(collection(since, failures=2), NOW)) == 30
    assert len(minutes_to_collect(collection(since, failures=1000), NOW)) == 1


def test_what_was_found_lately_is_found() -> None:
    assert not is_found(collection(), NOW)
    assert is_found(collection(found_at=NOW - timedelta(minutes=15)), NOW)
    assert not is_found(collection(found_at=NOW - timedelta(minutes=16)), NOW)


@pytest.mark.parametrize(("ahead", "offset"), [(0, 0), (9.9, 0), (-9.9, 0), (3600.4, 3600), (-3600.4, -3600)])
def test_a_clock_that_is_wrong_is_found_out(ahead: float, offset: float) -> None:
    assert clock_offset(NOW.timestamp() + ahead, NOW) == offset


def test_values_are_by_minutes_of_our_own_clock() -> None:
    at = TOP.timestamp() + 3600
    series = [Series({"namespace": "search", "workload": "web"}, {at: 1.0, at + 60: 2.0}), Series({}, {at: 3.0})]
    assert by_workload(series, 3600) == {("search", "web"): {TOP: 1.0, TOP + MINUTE: 2.0}}


def test_rates_become_the_requests_of_a_minute() -> None:
    key = ("search", "web")
    measured = {
        "requests": {key: {TOP: 2.0, TOP + MINUTE: 0.0}},
        "errors": {key: {TOP: 0.5}},
        "latency_p99_seconds": {key: {TOP: 0.25}},
    }
    found = list(samples(measured, [TOP, TOP + MINUTE], {key: WEB}))
    assert found == [
        CollectedSample(WEB, TOP, {"requests": 120, "errors": 30, "latency_p99_seconds": 0.25}),
        CollectedSample(WEB, TOP + MINUTE, {"requests": 0, "errors": 0}),
    ]
    assert list(samples(measured, [TOP], {})) == []  # nobody's of ours
    assert list(samples(measured, [TOP - MINUTE], {key: WEB})) == []


def test_requests_are_successes_and_errors_where_these_are_counted_apart() -> None:
    key = ("search", "web")
    measured = {"successes": {key: {TOP: 1.0}}, "errors": {key: {TOP: 0.5}}}
    [found] = samples(measured, [TOP], {key: WEB})
    assert found.metrics == {"requests": 90, "errors": 30}


@pytest.mark.parametrize(
    ("values", "metrics"),
    [
        ({"requests": 1.0, "errors": 2.0}, {"requests": 60, "errors": 60}),
        ({"requests": 1.0, "errors": -1.0}, {"requests": 60, "errors": 0}),
        ({"requests": -1.0}, None),
        ({"errors": 1.0}, None),
        ({"up": 1.0}, {"up": 1}),
        ({"up": 2.0}, None),
        ({"requests": 1.0, "latency_p50_seconds": -1.0}, {"requests": 60, "errors": 0}),
        ({"requests": 1e300}, None),
    ],
)
def test_what_cannot_be_is_left_out(values: dict[str, float], metrics: dict[str, float] | None) -> None:
    measured = {name: of_one([Series({}, {TOP.timestamp(): value})], 0) for name, value in values.items()}
    found = list(of_workload(measured, [TOP], WEB))
    assert [one.metrics for one in found] == ([] if metrics is None else [metrics])


def test_several_series_are_no_number() -> None:
    with pytest.raises(ValueError, match=r"gives 2 series .* sum"):
        of_one([Series({"a": "1"}, {}), Series({"a": "2"}, {})], 0)


def test_each_source_asks_first_for_what_tells_whether_it_is_there() -> None:
    for source, queries in SOURCES.items():
        assert next(iter(queries)) in ("requests", "successes"), source
        assert {"errors", "latency_p50_seconds", "latency_p95_seconds", "latency_p99_seconds"} < queries.keys()
