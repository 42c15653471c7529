"""From a real Prometheus to what policy decides: the collector on Debian's Prometheus and real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from functions.telemetry_ingestion.function import build
from knative.local.runtime.scratch import scratch_platform
from shared.models.telemetry import WorkloadSample
from shared.policy.documents import PolicyDocument
from shared.prometheus.client import Prometheus
from shared.store.database import connect
from shared.store.tables import metric_collections, outbox, slo_checks
from shared.store.unit_of_work import Store
from shared.telemetry.service_queries import SOURCES
from tests.functions.telemetry_ingestion.conftest import Telemetry
from tests.functions.telemetry_ingestion.test_collecting import MINUTE, Collector
from tests.support.builders import DENIED, connection_of, set_columns, told
from tests.support.prometheuses import FakePrometheus, fake_prometheus, needs_prometheus, real_prometheus
from tests.support.service_series import WORKLOADS, lines

pytestmark = [needs_prometheus, pytest.mark.slow]

HISTORY = timedelta(minutes=100)
SLO = {"type": "slo", "window": "PT1H", "min_success_rate": 0.99, "burn_rates": "workbook"}
PATIENCE_SECONDS = 150


@pytest.fixture
def telemetry(store: Any, deliver: Any) -> Telemetry:
    with store.begin() as work:
        return Telemetry(store, deliver, work.now)


def collector(telemetry: Telemetry, url: str) -> Collector:
    found = Collector(telemetry, FakePrometheus(url))
    client = Prometheus(url, backoff_seconds=0.01)
    found.function = build(prometheus=lambda: client)
    return found


def old_workloads(collector: Collector) -> None:
    for name, type_ in WORKLOADS.items():
        found = collector.run(name, type=type_)
        with collector.telemetry.store.begin() as work:
            set_columns(work, "workloads", found, created_at=work.now - timedelta(days=2))


def history(directory: Path, until: float, errors: float) -> None:
    """Makes blocks for a Prometheus that has collected for a while."""
    text = directory / "history"
    step = 15.0
    moments = [until - HISTORY.total_seconds() + at * step for at in range(int(HISTORY.total_seconds() / step) + 1)]
    by_series = [[f"{line} {at:.3f}" for line in lines(at - moments[0] + 600, errors)] for at in moments]
    ordered = (line for series in zip(*by_series, strict=True) for line in series)
    text.write_text("".join(f"{line}\n" for line in ordered) + "# EOF\n")
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "-q", str(text), str(directory / "prometheus")]
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def exporter(*arguments: str) -> Iterator[str]:
    """host:port of a process that serves metrics."""
    command = [sys.executable, "-m", "tests.support.exporter", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def promise(collector: Collector) -> None:
    with collector.telemetry.store.begin() as work:
        work.policies.put(PolicyDocument.model_validate({"name": "slo", "rules": [SLO]}), "tests")


def update(collector: Collector, name: str) -> dict[str, Any]:
    """What policy says of another image."""
    answer = collector.telemetry.deliver.decide(name, type=WORKLOADS[name], image="nginx:1.30")
    data = told(answer).data
    assert isinstance(data, dict)
    return {"type": told(answer).type, **data}


def test_a_gap_becomes_facts_and_a_breach(telemetry: Telemetry, tmp_path: Path) -> None:
    """Prometheus has collected for 100 minutes, while nobody asked it; and at first it is not there at all."""
    gone = collector(telemetry, "http://127.0.0.1:9")
    old_workloads(gone)
    promise(gone)
    denied = update(gone, "web")
    assert denied["type"] == DENIED
    assert "PROMETHEUS_URL" in denied["violations"][0]["message"]
    gone.tick()
    assert {row["failures"] for row in telemetry.rows("metric_collections", "1")} == {1}
    now = time.time()
    history(tmp_path, now, errors=2.0)
    with real_prometheus(tmp_path) as url:
        found = collector(telemetry, url)
        minute = found.minute
        gap = minute - 80 * MINUTE
        found.due(until=gap)
        for _ in range(3):
            found.tick()
        check_samples(found, gap, minute)
        assert {row["until"] for row in telemetry.rows("metric_collections", "1")} == {minute}
    breached(found)
    denied = update(found, "web")
    assert denied["type"] == DENIED
    assert any("80.0000% succeeded over 1:00:00" in one["message"] for one in denied["violations"]), denied


def check_samples(collector: Collector, gap: datetime, minute: datetime) -> None:
    fields = ("requests", "errors", "latency_p50_seconds", "latency_p95_seconds", "latency_p99_seconds")
    with collector.telemetry.store.begin() as work:
        names = {row.id: row.name for row in connection_of(work).execute(sa.text("SELECT id, name FROM workloads"))}
    rows = collector.telemetry.rows("workload_samples", "1, 2")
    assert {names[row["workload_id"]] for row in rows} == WORKLOADS.keys()
    for name in WORKLOADS:
        own = [row for row in rows if names[row["workload_id"]] == name]
        # The newest block of blocks ends where the last sample is; some seconds of the last minute may be missing.
        assert {row["observed_at"] for row in own} >= {gap + at * MINUTE for at in range(1, 80)}, name
        assert max(row["observed_at"] for row in own) <= minute
        for row in own:
            values = dict(zip(fields, (row[field] for field in fields), strict=True))
            assert values["requests"] == pytest.approx(600, rel=0.02), (name, values)
            assert values["errors"] == pytest.approx(120, rel=0.02), (name, values)
            assert values["latency_p50_seconds"] == pytest.approx(0.05, rel=0.15), (name, values)
            assert values["latency_p95_seconds"] == pytest.approx(0.3, rel=0.15), (name, values)


def breached(collector: Collector) -> None:
    collector.telemetry.tick()
    with collector.telemetry.store.begin() as work:
        connection_of(work).execute(slo_checks.update().values(due_at=work.now - timedelta(seconds=1)))
    collector.telemetry.tick()
    with collector.telemetry.store.begin() as work:
        rows = connection_of(work).execute(sa.select(outbox)).all()
    events = [json.loads(row.body) for row in rows if row.attributes["type"] == "dev.sentinel.slo.breached.v1"]
    assert {one["factor"] for one in events} >= {14.4}
    assert len({one["workload"] for one in events}) == len(WORKLOADS)
    assert {round(one["burnRate"]) for one in events} == {20}


def test_what_is_served_is_collected_while_it_runs(telemetry: Telemetry, tmp_path: Path) -> None:
    """A process serves metrics, Prometheus collects them each second, and Sentinel has them a minute later."""
    with exporter("--errors", "0.5") as target, real_prometheus(tmp_path, targets={target: {}}) as url:
        found = collector(telemetry, url)
        old_workloads(found)
        end = time.monotonic() + PATIENCE_SECONDS
        while len({row["workload_id"] for row in telemetry.rows("workload_samples", "1")}) < len(WORKLOADS):
            assert time.monotonic() < end, telemetry.rows("metric_collections", "1")
            found.due()
            found.tick()
            time.sleep(1)
    for requests, errors in found.samples("requests", "errors"):
        assert errors / requests == pytest.approx(0.05, rel=0.1)


async def test_a_platform_asks_its_prometheus_and_goes_on_when_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The route of the production manifests: tick, announcement, broker, collection."""
    with fake_prometheus() as fake:
        monkeypatch.setenv("PROMETHEUS_URL", fake.url)
        async with scratch_platform("collect") as platform, asyncio.timeout(60):
            while fake.times() < len(SOURCES):
                await asyncio.sleep(0.1)
            fake.lasting = "hang"
            store = Store(connect(platform.database_url, pool_size=1))
            try:
                for number in range(3):  # ticks go on, and rollups are made
                    with store.begin() as work:
                        workload, at = uuid.UUID(int=number), work.now
                        connection_of(work).execute(metric_collections.update().values(due_at=at, until=at - HISTORY))
                        work.telemetry.add_workload(workload, [WorkloadSample(at, {"requests": 1.0})])
                    while True:
                        with store.begin() as work:
                            made = sa.text("SELECT count(*) FROM workload_minutes WHERE workload_id = :id")
                            if connection_of(work).execute(made, {"id": workload}).scalar_one():
                                break
                        await asyncio.sleep(0.1)
            finally:
                store.close()
                fake.release()
