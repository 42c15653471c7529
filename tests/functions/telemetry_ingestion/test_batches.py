"""Telemetry batches are stored whole, once, or not at all."""

import json
from typing import Any

import pytest
import sqlalchemy as sa

from events import CATALOGUE
from events.telemetry import MAX_GPUS, TelemetryGpu, TelemetryWorkload
from functions.telemetry_ingestion.function import build
from shared.store.tables import telemetry
from shared.store.unit_of_work import Store
from tests.support.builders import Deliver, connection_of, request

GPU = CATALOGUE.name_of(TelemetryGpu)
WORKLOAD = CATALOGUE.name_of(TelemetryWorkload)
INGESTION = build()


def sample(number: int = 0, **fields: object) -> dict[str, Any]:
    return {"gpu": f"GPU-{number}", "index": number, "metrics": {"utilization_percent": 87.5}, **fields}


def batch(*samples: dict[str, Any], **fields: object) -> dict[str, Any]:
    moment = "2026-01-01T00:00:00.5+02:00"
    return {"cluster": "local", "node": "gpu-0", "observedAt": moment, "gpus": list(samples), **fields}


def stored(store: Store) -> list[dict[str, Any]]:
    statement = sa.select(telemetry).order_by(telemetry.c.observed_at, telemetry.c.sample["gpu"].astext)
    with store.begin() as work:
        return [dict(row) for row in connection_of(work).execute(statement).mappings()]


def test_a_batch_is_a_row_for_each_sample(store: Store, deliver: Deliver) -> None:
    metrics = {"utilization_percent": 87.5, "memory_used_bytes": 42949672960}
    answer = deliver(INGESTION, GPU, batch(sample(0, metrics=metrics), sample(1)), subject="gpu-0")
    assert (answer.status, answer.body) == (202, b"")
    first, second = stored(store)
    assert (first["kind"], first["subject"]) == ("gpu", "gpu-0")
    assert first["observed_at"].isoformat() == "2025-12-31T22:00:00.500000+00:00"
    assert first["sample"] == {"gpu": "GPU-0", "metrics": metrics}
    assert second["sample"]["gpu"] == "GPU-1"


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
        ({"gpu": ""}, "gpus.1.gpu"),
        ({"gpu": "a\nb"}, "gpus.1.gpu"),
        ({"gpu": "GPU-0"}, "a GPU is there twice"),
        ({"index": 0}, "two GPUs have the same index"),
        ({"index": -1}, "gpus.1.index"),
        ({"metrics": {"utilization_percent": "high"}}, "gpus.1.metrics.utilization_percent"),
        ({"metrics": {"utilization_percent": 101}}, "utilization_percent: 101 must be between 0 and 100"),
        ({"metrics": {"power_watts": 1e30}}, "power_watts: 1e+30 must be between 0 and 100000"),
        ({"metrics": {"speed": 1}}, "'speed' is not a field"),
        ({"other": 1}, "gpus.1.other"),
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


@pytest.mark.parametrize(
    "moment",
    ["2026-01-01T00:00:00", "yesterday", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"],
)
def test_what_is_no_moment_in_utc_is_refused(store: Store, deliver: Deliver, moment: str) -> None:
    answer = deliver(INGESTION, GPU, batch(sample(), observedAt=moment), subject="gpu-0")
    assert (answer.status, "observedAt" in json.loads(answer.body)["error"]) == (422, True)
    assert stored(store) == []


def test_a_node_has_a_number_of_gpus(store: Store, deliver: Deliver) -> None:
    answer = deliver(INGESTION, GPU, batch(*(sample(n) for n in range(MAX_GPUS + 1))), subject="gpu-0")
    assert (answer.status, "gpus" in json.loads(answer.body)["error"]) == (422, True)


def test_the_largest_batch_is_one_statement(store: Store, deliver: Deliver, engine: sa.Engine) -> None:
    statements: list[str] = []

    def remember(*arguments: Any) -> None:
        statements.append(arguments[2])

    sa.event.listen(engine, "before_cursor_execute", remember)
    try:
        answer = deliver(INGESTION, GPU, batch(*(sample(n) for n in range(MAX_GPUS))), subject="gpu-0")
    finally:
        sa.event.remove(engine, "before_cursor_execute", remember)
    assert answer.status == 202
    assert sum("INSERT INTO telemetry" in statement for statement in statements) == 1
    assert len(stored(store)) == MAX_GPUS
