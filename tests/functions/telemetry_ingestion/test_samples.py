"""Samples are stored once, by their natural key, whatever was sent; what cannot be stored is refused or counted."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from events.telemetry import MAX_GPUS
from shared.models.telemetry import READINGS_A_MINUTE
from shared.telemetry.fields import GPU_FIELDS
from tests.functions.telemetry_ingestion.conftest import GPU, INGESTION, Telemetry, gpu
from tests.support.builders import Deliver, id_of, in_parallel, request, revision_of, rows

AGENT = "/sentinel/agents/local/gpu-0"


def test_a_sample_of_a_node_is_a_row_for_each_gpu_in_typed_columns(telemetry: Telemetry) -> None:
    container = {"namespace": "search", "pod": 'web-"7d9\\f', "container": "main"}
    metrics = {"utilization_percent": 0.1, "memory_used_bytes": 42949672961, "throttle_reasons": 4}
    slice_ = gpu(1, gpu="MIG-1", index=0, parent="GPU-0", profile="1g.10gb", state="hung", metrics={})
    first = gpu(0, product="NVIDIA \\ H100", metrics=metrics, containers=[container])
    answer = telemetry.send(first, slice_, driver="580.95.05", state="ok")
    assert (answer.status, answer.body) == (202, b"")
    whole, part = telemetry.rows("gpu_samples")
    key = ("local", "gpu-0", telemetry.now, "GPU-0")
    assert tuple(whole[name] for name in ("cluster", "node", "observed_at", "gpu")) == key
    assert {name: whole[name] for name in metrics} == metrics
    assert (whole["product"], whole["containers"]) == ("NVIDIA \\ H100", ['search/web-"7d9\\f/main'])
    assert (whole["energy_joules_total"], whole["workload_id"], whole["parent"]) == (None, None, None)
    assert (part["parent"], part["profile"], part["state"], part["utilization_percent"]) == (
        "GPU-0",
        "1g.10gb",
        "hung",
        None,
    )
    [agent] = telemetry.rows("agents")
    assert (agent["state"], agent["driver"], agent["observed_at"]) == ("ok", "580.95.05", telemetry.now)


def test_fields_are_stored_whichever_are_there_and_in_whatever_order(telemetry: Telemetry) -> None:
    highest = {name: field.maximum for name, field in GPU_FIELDS.items()}
    some = dict(list(highest.items())[1::3])
    sent = [highest, dict(reversed(highest.items())), some, dict(reversed(some.items())), {}]
    names = ["Ü-€-\U0001f600", "a b"]
    held = [{"namespace": name, "pod": name, "container": name} for name in names]
    gpus = [gpu(number, metrics=metrics, containers=held[:number]) for number, metrics in enumerate(sent)]
    assert telemetry.send(*gpus).status == 202
    stored = telemetry.rows("gpu_samples", '"index"')
    assert [{name: row[name] for name in highest if row[name] is not None} for row in stored] == sent
    assert [row["containers"] for row in stored] == [
        [f"{name}/{name}/{name}" for name in names[:number]] or None for number in range(len(sent))
    ]


def test_a_node_without_gpus_says_so(telemetry: Telemetry) -> None:
    assert telemetry.send(state="driver_missing").status == 202
    assert [row["state"] for row in telemetry.rows("agents")] == ["driver_missing"]
    assert telemetry.rows("gpu_samples") == []


def test_what_comes_twice_is_stored_once_without_the_inbox(telemetry: Telemetry, owner_engine: sa.Engine) -> None:
    sent = [(ago, telemetry.now - timedelta(seconds=ago)) for ago in (30, 20, 10, 20, 30, 10, 20)]
    for ago, at in sent:
        assert telemetry.send(gpu(0, metrics={"power_watts": ago}), at=at).status == 202
    assert [row["power_watts"] for row in telemetry.rows("gpu_samples")] == [30, 20, 10]
    assert rows(owner_engine, "inbox") == []


def test_a_gpu_that_is_new_in_a_sample_that_is_there_is_added(telemetry: Telemetry) -> None:
    telemetry.send(gpu(0))
    telemetry.send(gpu(0, metrics={"power_watts": 1}), gpu(1))
    found = telemetry.rows("gpu_samples")
    assert [(row["gpu"], row["power_watts"]) for row in found] == [("GPU-0", None), ("GPU-1", None)]


def test_the_same_sample_many_times_at_once_is_stored_once(telemetry: Telemetry) -> None:
    answers = in_parallel(*[partial(telemetry.send, gpu(0), gpu(1))] * 8)
    assert {answer.status for answer in answers} == {202}
    assert len(telemetry.rows("gpu_samples")) == 2


def test_a_sample_of_a_day_without_a_partition_makes_one_whoever_is_first(telemetry: Telemetry) -> None:
    at = telemetry.now - timedelta(days=2)
    with telemetry.store.begin() as work:
        work._connection.execute(sa.text("SELECT drop_partitions('gpu_samples', now())"))
    answers = in_parallel(*(partial(telemetry.send, gpu(0), node=f"node-{number}", at=at) for number in range(6)))
    assert {answer.status for answer in answers} == {202}
    assert len(telemetry.rows("gpu_samples")) == 6


def test_a_gpu_belongs_to_the_workload_that_its_pod_does(telemetry: Telemetry, deliver: Deliver) -> None:
    """It is looked up once for the pods that a node has, and again when there are others."""
    deliver.decide()
    with telemetry.store.begin() as work:
        workload = work.workloads.get(id_of())
        assert workload is not None
        plan = work.plans.get(workload.plan_id)
        assert plan is not None
        work.deployments.add(revision_of(workload, plan))
    pods = ["test-inference-7d9f6c8b5-x2x7k", "elsewhere-7d9f6c8b5-x2x7k"]
    for ago, held in ((30, pods[:1]), (20, pods[:1]), (10, pods), (0, pods[1:])):
        containers = [{"namespace": "search", "pod": pod, "container": "main"} for pod in reversed(held)]
        telemetry.send(gpu(0, containers=containers), at=telemetry.now - timedelta(seconds=ago))
    found = [row["workload_id"] for row in telemetry.rows("gpu_samples")]
    assert found == [id_of(), id_of(), id_of(), None]


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"gpu": ""}, "gpus.1.gpu"),
        ({"gpu": "a\nb"}, "gpus.1.gpu"),
        ({"gpu": "GPU-0"}, "a GPU is there twice"),
        ({"index": 0}, "two GPUs have the same index"),
        ({"index": -1}, "gpus.1.index"),
        ({"metrics": {"utilization_percent": "high"}}, "gpus.1.metrics.utilization_percent"),
        ({"metrics": {"utilization_percent": -1}}, "utilization_percent: -1 must be between 0 and 100"),
        ({"metrics": {"power_watts": 1e30}}, "power_watts: 1e+30 must be between 0 and 100000"),
        ({"metrics": {"speed": 1}}, "'speed' is not a field"),
        ({"other": 1}, "gpus.1.other"),
    ],
)
def test_one_bad_gpu_refuses_the_whole_sample_and_is_named(
    telemetry: Telemetry, bad: dict[str, Any], field: str
) -> None:
    answer = telemetry.send(gpu(0), gpu(1, **bad))
    assert answer.status == 422
    assert field in json.loads(answer.body)["error"]
    assert telemetry.rows("gpu_samples") == telemetry.rows("agents", "1") == []


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e400"])
def test_what_is_no_number_is_refused(telemetry: Telemetry, deliver: Deliver, value: str) -> None:
    data = {"cluster": "local", "node": "gpu-0", "observedAt": telemetry.now.isoformat(), "gpus": [gpu()]}
    body = json.dumps(data).replace("87.5", value).encode()
    assert deliver(INGESTION, GPU, body, source=AGENT, subject="gpu-0").status in (400, 422)
    assert telemetry.rows("gpu_samples") == []


@pytest.mark.parametrize(
    "moment", ["2026-01-01T00:00:00", "yesterday", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
)
def test_what_is_no_moment_in_utc_is_refused(telemetry: Telemetry, moment: str) -> None:
    answer = telemetry.send(gpu(), observedAt=moment)
    assert (answer.status, "observedAt" in json.loads(answer.body)["error"]) == (422, True)


def test_a_node_has_a_number_of_gpus_and_the_most_is_one_copy(telemetry: Telemetry, engine: sa.Engine) -> None:
    answer = telemetry.send(*map(gpu, range(10_000)))
    assert (answer.status, "gpus" in json.loads(answer.body)["error"]) == (422, True)
    statements: list[str] = []

    def remember(*arguments: Any) -> None:
        statements.append(arguments[2])

    sa.event.listen(engine, "before_cursor_execute", remember)
    try:
        assert telemetry.send(*map(gpu, range(MAX_GPUS))).status == 202
    finally:
        sa.event.remove(engine, "before_cursor_execute", remember)
    assert [statement.split()[0] for statement in statements if "SELECT now()" not in statement] == [
        "INSERT",
        "SELECT",
        "COPY",
    ]
    assert len(telemetry.rows("gpu_samples")) == MAX_GPUS


@pytest.mark.parametrize(
    ("source", "subject", "field"),
    [
        ("/sentinel/agents/local/gpu-1", "gpu-0", "cluster and node"),
        ("/sentinel/agents/other/gpu-0", "gpu-0", "cluster and node"),
        ("/test", "gpu-0", "cluster and node"),
        (AGENT, "gpu-1", "subject"),
    ],
)
def test_a_node_speaks_for_itself_alone(
    telemetry: Telemetry, deliver: Deliver, source: str, subject: str, field: str
) -> None:
    data = {"cluster": "local", "node": "gpu-0", "observedAt": telemetry.now.isoformat(), "gpus": [gpu()]}
    answer = deliver.raw(INGESTION, *request(GPU, data, source=source, subject=subject))
    assert (answer.status, json.loads(answer.body)["error"].startswith(field)) == (422, True)
    assert telemetry.rows("gpu_samples") == []


@pytest.mark.parametrize(
    ("off", "reason"),
    [
        (timedelta(minutes=4), None),
        (timedelta(minutes=6), "future"),
        (timedelta(days=365), "future"),
        (timedelta(days=-2, hours=-23), None),
        (timedelta(days=-3, minutes=-1), "late"),
        (timedelta(days=-700_000), "late"),
    ],
)
def test_a_sample_that_is_late_or_in_the_future_is_counted_and_not_stored(
    telemetry: Telemetry, off: timedelta, reason: str | None
) -> None:
    assert telemetry.send(gpu(0), gpu(1), at=telemetry.now + off).status == 202
    assert len(telemetry.rows("gpu_samples")) == (2 if reason is None else 0)
    assert telemetry.dropped() == ({} if reason is None else {("gpu", "local/gpu-0", reason): 2})
    [agent] = telemetry.rows("agents")
    assert agent["observed_at"] == (None if reason else telemetry.now + off)


def test_a_node_that_floods_is_limited_and_others_are_not(telemetry: Telemetry) -> None:
    """Newest first or last, a minute of a node holds so many of its samples; what is there already is no flood."""
    minute = telemetry.minute(5)
    step = timedelta(milliseconds=500)
    moments = [minute + step * number for number in range(READINGS_A_MINUTE + 5)]
    for at in moments:
        assert telemetry.send(gpu(0), node="flood", at=at).status == 202
    for at in (moments[0], minute - timedelta(minutes=1), minute + step / 2, moments[-1]):
        assert telemetry.send(gpu(0), node="flood", at=at).status == 202
    telemetry.send(gpu(0), node="quiet", at=minute)
    stored = [row["observed_at"] for row in telemetry.rows("gpu_samples") if row["node"] == "flood"]
    assert stored == [minute - timedelta(minutes=1), *moments[:READINGS_A_MINUTE]]
    assert len(telemetry.rows("gpu_samples WHERE node = 'quiet'")) == 1
    assert telemetry.dropped() == {("gpu", "local/flood", "flood"): 7}


def test_samples_of_a_workload_are_stored_once_and_the_bad_ones_are_counted(telemetry: Telemetry) -> None:
    workload, now = uuid.uuid4(), telemetry.now
    good = [(now - timedelta(hours=hours), {"up": 1.0, "requests": hours}) for hours in (30, 2, 1)]
    bad = [(now - timedelta(days=4), {"up": 1.0}), (now + timedelta(days=2), {"up": 1.0})]
    for samples in (good[1:], [*bad, *good], good):
        assert telemetry.report(workload, *samples).status == 202
    found = telemetry.rows("workload_samples")
    assert [(row["observed_at"], row["requests"]) for row in found] == [(at, one["requests"]) for at, one in good]
    assert telemetry.dropped() == {("workload", str(workload), reason): 1 for reason in ("future", "late")}


@pytest.mark.parametrize(
    ("metrics", "said"),
    [({}, "samples.0.metrics"), ({"latency": 1.0}, "'latency' is not a field"), ({"up": 2.0}, "up: 2 must be between")],
)
def test_a_sample_of_a_workload_holds_known_fields(telemetry: Telemetry, metrics: dict[str, float], said: str) -> None:
    answer = telemetry.report(uuid.uuid4(), (telemetry.now, metrics))
    assert (answer.status, said in json.loads(answer.body)["error"]) == (422, True)
