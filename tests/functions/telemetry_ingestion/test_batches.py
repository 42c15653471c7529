"""Telemetry batches are stored whole, once, or not at all."""

import json
from typing import Any

import pytest
import sqlalchemy as sa

from events import CATALOGUE
from events.telemetry import MAX_SAMPLES, TelemetryGpu, TelemetryWorkload
from functions.telemetry_ingestion.function import build
from shared.store.tables import telemetry
from shared.store.unit_of_work import Store
from tests.support.builders import Deliver, connection_of, request

GPU = CATALOGUE.name_of(TelemetryGpu)
WORKLOAD = CATALOGUE.name_of(TelemetryWorkload)
INGESTION = build()


def sample(number: int = 0, **fields: object) -> dict[str, Any]:
    observed = f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}.5+02:00"
    return {"gpu": f"GPU-{number % 8}", "observedAt": observed, "metrics": {"utilization_percent": 87.5}, **fields}


def batch(*samples: dict[str, Any]) -> dict[str, Any]:
    return {"node": "gpu-0", "samples": list(samples)}


def stored(store: Store) -> list[dict[str, Any]]:
    statement = sa.select(telemetry).order_by(telemetry.c.observed_at, telemetry.c.id)
    with store.begin() as work:
        return [dict(row) for row in connection_of(work).execute(statement).mappings()]


def test_a_batch_is_a_row_for_each_sample(store: Store, deliver: Deliver) -> None:
    metrics = {"utilization_percent": 87.5, "memory_used_bytes": 42949672960, "größe": -0.25}
    answer = deliver(INGESTION, GPU, batch(sample(0, metrics=metrics), sample(1)), subject="gpu-0")
    assert (answer.status, answer.body) == (202, b"")
    first, second = stored(store)
    assert (first["kind"], first["subject"]) == ("gpu", "gpu-0")
    assert first["observed_at"].isoformat() == "2025-12-31T22:00:00.500000+00:00"
    assert first["sample"] == {"gpu": "GPU-0", "metrics": metrics}
    assert second["sample"]["gpu"] == "GPU-1"


def test_a_metric_called_gpu_does_not_hide_which_gpu_it_is_of(store: Store, deliver: Deliver) -> None:
    deliver(INGESTION, GPU, batch(sample(metrics={"gpu": 1.0})), subject="gpu-0")
    assert stored(store)[0]["sample"] == {"gpu": "GPU-0", "metrics": {"gpu": 1.0}}


def test_samples_of_workloads_are_stored_too(store: Store, deliver: Deliver) -> None:
    sample = {"workload": "w", "samples": [{"observedAt": "2026-01-01T00:00:00Z", "metrics": {"latency": 0.2}}]}
    assert deliver(INGESTION, WORKLOAD, sample).status == 202
    [row] = stored(store)
    assert (row["kind"], row["subject"], row["sample"]) == ("workload", "w", {"metrics": {"latency": 0.2}})


def test_a_duplicate_changes_nothing(store: Store, deliver: Deliver) -> None:
    message = request(GPU, batch(sample(), sample(1)), subject="gpu-0")
    assert [deliver.raw(INGESTION, *message).status for _ in range(3)] == [202, 202, 202]
    assert len(stored(store)) == 2


def test_the_same_id_with_other_samples_is_refused(store: Store, deliver: Deliver) -> None:
    deliver(INGESTION, GPU, batch(sample()), event_id="1", subject="gpu-0")
    assert deliver(INGESTION, GPU, batch(sample(1)), event_id="1", subject="gpu-0").status == 422
    assert len(stored(store)) == 1


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"gpu": ""}, "samples.1.gpu"),
        ({"gpu": "a\nb"}, "samples.1.gpu"),
        ({"observedAt": "2026-01-01T00:00:00"}, "samples.1.observedAt"),
        ({"observedAt": "yesterday"}, "samples.1.observedAt"),
        ({"observedAt": "0001-01-01T00:00:00+14:00"}, "samples.1.observedAt"),
        ({"observedAt": "9999-12-31T23:59:59-14:00"}, "samples.1.observedAt"),
        ({"metrics": {}}, "samples.1.metrics"),
        ({"metrics": {"m": "high"}}, "samples.1.metrics.m"),
        ({"metrics": {"": 1}}, "samples.1.metrics"),
        ({"metrics": {f"m{n}": 1 for n in range(201)}}, "samples.1.metrics"),
        ({"other": 1}, "samples.1.other"),
    ],
)
def test_one_bad_sample_refuses_the_whole_batch_and_is_named(
    store: Store, deliver: Deliver, bad: dict[str, Any], field: str
) -> None:
    answer = deliver(INGESTION, GPU, batch(sample(), sample(1, **bad)), subject="gpu-0")
    assert answer.status == 422
    assert field in json.loads(answer.body)["error"]
    assert stored(store) == []


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e400"])
def test_what_is_no_number_is_refused(store: Store, deliver: Deliver, value: str) -> None:
    body = json.dumps(batch(sample())).replace("87.5", value).encode()
    assert deliver(INGESTION, GPU, body, subject="gpu-0").status in (400, 422)
    assert stored(store) == []


@pytest.mark.parametrize("count", [0, MAX_SAMPLES + 1])
def test_batches_have_a_size(store: Store, deliver: Deliver, count: int) -> None:
    answer = deliver(INGESTION, GPU, batch(*(sample(n) for n in range(count))), subject="gpu-0")
    assert answer.status == 422
    assert "samples" in json.loads(answer.body)["error"]


def test_the_largest_batch_is_one_statement(store: Store, deliver: Deliver, engine: sa.Engine) -> None:
    statements: list[str] = []

    def remember(*arguments: Any) -> None:
        statements.append(arguments[2])

    sa.event.listen(engine, "before_cursor_execute", remember)
    try:
        answer = deliver(INGESTION, GPU, batch(*(sample(n) for n in range(MAX_SAMPLES))), subject="gpu-0")
    finally:
        sa.event.remove(engine, "before_cursor_execute", remember)
    assert answer.status == 202
    assert sum("INSERT INTO telemetry" in statement for statement in statements) == 1
    assert len(stored(store)) == MAX_SAMPLES


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_the_ends_of_time_are_stored(store: Store, deliver: Deliver, moment: str) -> None:
    assert deliver(INGESTION, GPU, batch(sample(observedAt=moment)), subject="gpu-0").status == 202
    assert stored(store)[0]["observed_at"].isoformat() == moment.replace("Z", "+00:00")
