"""Every query of every panel and rule has data on a real Prometheus that collects from a running platform."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from rich.console import Console

from knative.dashboards import DIRECTORY, Dashboard, dashboards, grafana
from knative.local.broker.attempts import AttemptHandler
from knative.local.runtime.logs import Warnings, following
from knative.local.runtime.platform import Platform
from knative.local.runtime.scratch import scratch_platform
from knative.local.runtime.state_directory import listen
from knative.local.tools.demo.__main__ import demo_session
from knative.local.tools.demo.scenarios import SCENARIOS
from knative.local.tools.demo.timeline import DemoTimeline
from knative.local.tools.observe import configure, prometheus_command
from shared.models.page import PageRequest
from shared.models.slo import Breach, Crossing
from shared.models.stored import WorkloadFilter
from shared.operations.workloads import list_workloads
from shared.policy.documents import PolicyDocument
from shared.store.database import connect
from shared.store.unit_of_work import Store
from shared.telemetry.metrics import METRICS
from tests.observability.test_alerts import groups

QUERIES: Mapping[str, str] = {
    **{f"{one.name}: {panel.title}": panel.query for one in dashboards() for panel in one.panels},
    **{rule["record"]: rule["expr"] for group in groups() for rule in group["rules"] if "record" in rule},
    # A panel says `none` where there is no breach.
    "sentinel_slo_breaches": "sentinel_slo_breaches",
    "sentinel_slo_burn_rate": "sentinel_slo_burn_rate",
}
PATIENCE_SECONDS = 120


@pytest.mark.parametrize("dashboard", list(dashboards()), ids=lambda one: one.name)
def test_the_json_of_a_dashboard_is_what_its_panels_say(dashboard: Dashboard) -> None:
    assert (DIRECTORY / f"{dashboard.name}.json").read_text() == grafana(dashboard)
    names = [panel.title for panel in dashboard.panels]
    assert len(set(names)) == len(names)


def test_panels_ask_for_metrics_that_there_are() -> None:
    known = {*METRICS, *(f"{name}_bucket" for name, one in METRICS.items() if one.type == "histogram")}
    for dashboard in dashboards():
        for panel in dashboard.panels:
            asked = {name for name in re.findall(r"sentinel_[a-z0-9_]+", panel.query) if "_agent_" not in name}
            assert asked <= known, panel.title


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus, of Debian's package prometheus")
async def test_every_query_has_data_on_a_prometheus_that_collects_from_a_demo(tmp_path: Path) -> None:
    timeline = DemoTimeline(Console(file=sys.stderr))
    with following(AttemptHandler(timeline.add), Warnings().handler):
        series = await _series_of_a_demo(timeline, tmp_path)
    print("\n".join(f"{number:4} series  {name}" for name, number in series.items()))
    assert [name for name, number in series.items() if not number] == []


async def _series_of_a_demo(timeline: DemoTimeline, tmp_path: Path) -> dict[str, int]:
    async with (
        scratch_platform("observe", agents={"SAMPLE_INTERVAL": "2s"}) as platform,
        demo_session(platform, timeline) as session,
        prometheus(platform, tmp_path) as url,
    ):
        _put(platform, MONTHLY)
        for scenario in SCENARIOS:
            await scenario(session)
        _breach(platform)
        return await _with_data(url)


MONTHLY = PolicyDocument.model_validate(
    {"name": "monthly", "rules": [{"type": "cost_ceiling", "scope": "team", "usd_per_month": "1000000"}]}
)


def _put(platform: Platform, document: PolicyDocument) -> None:
    store = Store(connect(platform.database_url, pool_size=1))
    with store.begin() as work:
        work.policies.put(document, "test")
    store.close()


def _breach(platform: Platform) -> None:
    """Some workload's error budget burns too fast: the demo reports no requests."""
    store = Store(connect(platform.database_url, pool_size=1))
    with store.begin() as work:
        [one] = list_workloads(work, WorkloadFilter(), PageRequest(1, "name")).items
        pair = Crossing(0.999, 14.4, timedelta(hours=1), timedelta(minutes=5))
        work.breaches.add(Breach(uuid.uuid4(), one.id, "slo", pair, 20.0, work.now))
    store.close()


@asynccontextmanager
async def prometheus(platform: Platform, directory: Path) -> AsyncIterator[str]:
    """A Prometheus that collects every second, as `make observe` starts it."""
    with listen(0) as free:
        port = free.getsockname()[1]
    config = configure(platform.state.path, directory, "1s")
    program = shutil.which("prometheus")
    assert program is not None
    process = await asyncio.create_subprocess_exec(*prometheus_command(program, config, directory, port))
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def _with_data(url: str) -> dict[str, int]:
    """How many series each query has, once all have one or nobody waits any longer."""
    found: dict[str, int] = {}
    async with aiohttp.ClientSession() as client, asyncio.timeout(PATIENCE_SECONDS * 2):
        end = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while True:
            for name, query in QUERIES.items():
                if not found.get(name):
                    found[name] = len(await _asked(client, url, query))
            if all(found.values()) or asyncio.get_running_loop().time() > end:
                return found
            await asyncio.sleep(1)


async def _asked(client: aiohttp.ClientSession, url: str, query: str) -> list[Any]:
    chosen = re.sub(r"\$(cluster|team|workload)", ".*", query)
    async with client.get(f"{url}/api/v1/query", params={"query": chosen}) as answer:
        document = await answer.json()
    assert document["status"] == "success", (query, document)
    result: list[Any] = document["data"]["result"]
    return [one for one in result if one["value"][1] != "NaN"]
