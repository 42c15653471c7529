"""The chain on a laptop platform, beside a chain of null handlers with the same hops on the same platform.

A workload goes through intake, policy, execution and verification; an event of the peer through four functions that
commit as often and do nothing else. First one at a time, which shows the latency of the chain itself, then all at once,
which shows what it can do. Both sides run through the same code.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import aiohttp
import sqlalchemy as sa

from events.workload import WorkloadSubmitted
from knative.local.broker.attempts import AttemptHandler
from knative.local.runtime.logs import following
from knative.local.runtime.platform import BASE, Platform
from knative.local.runtime.scratch import scratch_directory, scratch_platform
from knative.local.tools.publisher import Publisher
from knative.local.tools.replay.meter import Meter
from knative.local.tools.replay.summary import percentile
from shared.store.database import connect
from shared.store.tables import deployments, workloads
from tests.bench.null import DEFINITION, HOPS, TABLE, kind
from tests.bench.peers import write_null_chain

WARM_UP, ONE_BY_ONE, AT_ONCE = 5, 30, 200
LIMIT = 2.0
"""What submitted -> applied, one by one, may take beside the peer."""

_APPLIED_HOP = 3
_POLL_SECONDS = 0.02
_PATIENCE_SECONDS = 300.0

Moments = dict[str, float]
"""Seconds since the epoch, by the name of a workload."""


@dataclass(frozen=True)
class Side:
    """One chain: how to start something in it, and when it was applied and done."""

    post: Callable[[str], Awaitable[None]]
    applied: Callable[[], Moments]
    done: Callable[[], Moments]


@dataclass(frozen=True)
class Figures:
    """Latencies in seconds: one at a time to applied and to the end, and all at once to the end. Rates a second."""

    applied_p50: float
    done_p50: float
    burst_p50: float
    burst_p99: float
    workloads_per_second: float
    events_per_second: float


@dataclass(frozen=True)
class Chains:
    """Both sides."""

    sentinel: Figures
    null: Figures


async def measure(said: Callable[[str], None]) -> Chains:
    """Runs both; `said` is told about each."""
    said("the chain of Sentinel")
    sentinel = await _on_platform(BASE, _sentinel)
    said("the chain of null handlers")
    with scratch_directory("null") as directory:
        null = await _on_platform(write_null_chain(directory / "manifests"), _null)
    return Chains(sentinel, null)


async def _on_platform(
    manifests: Path, side: Callable[[Platform, aiohttp.ClientSession, sa.Engine], Awaitable[Side]]
) -> Figures:
    meter = Meter()
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(following(AttemptHandler(meter.add)))
        platform = await stack.enter_async_context(scratch_platform("bench", manifests=manifests))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        engine = connect(platform.database_url, pool_size=2)
        stack.callback(engine.dispose)
        return await _run(await side(platform, session, engine), meter)


async def _sentinel(platform: Platform, session: aiohttp.ClientSession, engine: sa.Engine) -> Side:
    publisher = Publisher(session, platform.broker_url, "/bench")

    async def post(name: str) -> None:
        document = {"name": name, "type": "inference", "image": "fate.test/ready", "bake": "PT0S", "namespace": "bench"}
        await publisher.publish(WorkloadSubmitted, name, document)

    healthy = sa.select(workloads.c.name, workloads.c.updated_at).where(workloads.c.phase == "healthy")
    applied = sa.select(deployments.c.name, deployments.c.applied_at).where(deployments.c.applied_at.is_not(None))
    return Side(post, lambda: _moments(engine, applied), lambda: _moments(engine, healthy))


async def _null(platform: Platform, session: aiohttp.ClientSession, engine: sa.Engine) -> Side:
    owner = connect(platform.database_url.replace("://sentinel@", "://sentinel_owner@"), pool_size=1)
    with owner.begin() as connection:
        connection.execute(sa.text(DEFINITION))
        connection.execute(sa.text(f"GRANT SELECT, INSERT ON {TABLE} TO sentinel_app"))
    owner.dispose()

    async def post(name: str) -> None:
        listed = {"id": name, "source": "/bench", "type": kind(1), "specversion": "1.0", "subject": name}
        headers = {"content-type": "application/json", **{f"ce-{key}": value for key, value in listed.items()}}
        async with session.post(platform.broker_url, data=b"{}", headers=headers) as answer:
            answer.raise_for_status()

    def at_hop(hop: int) -> Moments:
        return _moments(engine, sa.text(f"SELECT workload, max(at) FROM {TABLE} WHERE hop = {hop} GROUP BY 1"))

    return Side(post, lambda: at_hop(_APPLIED_HOP), lambda: at_hop(HOPS))


async def _run(side: Side, meter: Meter) -> Figures:
    await _all(side, [f"warm-{number}" for number in range(WARM_UP)])
    started: Moments = {}
    for number in range(ONE_BY_ONE):
        started |= await _all(side, [f"single-{number}"])
    applied = _latencies(started, await asyncio.to_thread(side.applied))
    done = _latencies(started, await asyncio.to_thread(side.done))
    before, began = meter.delivered, time.time()
    started = await _all(side, [f"burst-{number}" for number in range(AT_ONCE)])
    events = meter.delivered - before
    finished = await asyncio.to_thread(side.done)
    burst = _latencies(started, finished)
    seconds = max(finished[name] for name in started) - began
    return Figures(
        applied_p50=percentile(applied, 50),
        done_p50=percentile(done, 50),
        burst_p50=percentile(burst, 50),
        burst_p99=percentile(burst, 99),
        workloads_per_second=AT_ONCE / seconds,
        events_per_second=events / seconds,
    )


async def _all(side: Side, names: Iterable[str]) -> Moments:
    """Starts all of them at once and waits until all are done. Returns when each was started."""
    started: Moments = {}

    async def start(name: str) -> None:
        started[name] = time.time()
        await side.post(name)

    await asyncio.gather(*(start(name) for name in names))
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not started.keys() <= (await asyncio.to_thread(side.done)).keys():
            await asyncio.sleep(_POLL_SECONDS)
    return started


def _latencies(started: Moments, ended: Moments) -> list[float]:
    return sorted(ended[name] - at for name, at in started.items())


def _moments(engine: sa.Engine, query: sa.Executable) -> Moments:
    with engine.connect() as connection:
        rows: list[tuple[str, datetime]] = [(row[0], row[1]) for row in connection.execute(query)]
    return {name: at.timestamp() for name, at in rows}
