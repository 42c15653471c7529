"""The chain on a laptop platform, beside a chain of null handlers with the same hops on the same platform.

A workload goes through intake, policy, execution and verification; an event of the peer through four functions that
commit as often and do nothing else. Both platforms run at the same time and are used in turns: one workload at a time,
which shows the latency of the chain itself, then bursts, which show what it can do and what it costs. Both sides run
through the same code.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import aiohttp
import psutil
import sqlalchemy as sa

from events import CATALOGUE
from events.workload import WorkloadSubmitted
from knative.local.broker.attempts import AttemptHandler
from knative.local.runtime.logs import following
from knative.local.runtime.platform import BASE, Platform
from knative.local.runtime.scratch import scratch_directory, scratch_platform
from knative.local.tools.publisher import IngressPublisher
from knative.local.tools.replay.meter import Meter
from knative.local.tools.replay.summary import percentile
from shared.store.database import connect
from shared.store.tables import deployments, outbox, workloads
from tests.bench.null import DEFINITION, HOPS, TABLE, kind
from tests.bench.peers import write_null_chain

WARM_UP, ONE_BY_ONE, AT_ONCE, BURSTS = 5, 30, 60, 5
LIMITS = {
    "applied_p50": ("P3", "<= 2"),
    "cpu_per_workload": ("P8", "<= 4"),
    "workloads_per_second": ("P8", ">= 0.3"),
}
"""What is promised of a figure beside the peer's."""
OUTBOX_LIMIT = ("P10", "<= 100 ms")

_APPLIED_HOP = 3
_INTAKE_HOST = "workload-intake.sentinel.localhost"
_POLL_SECONDS = 0.02
_PATIENCE_SECONDS = 300.0

Moments = dict[str, float]
"""Seconds since the epoch, by the name of a workload."""


@dataclass(frozen=True)
class Side:
    """One chain: how to start something in it, when it was applied and done, and what was delivered in it."""

    kind: str
    post: Callable[[str], Awaitable[None]]
    applied: Callable[[], Moments]
    done: Callable[[], Moments]
    meter: Meter


@dataclass(frozen=True)
class Figures:
    """Latencies in seconds: one at a time to applied and to the end, and in bursts to the end. Rates a second.

    cpu_per_workload: seconds of all processes but the Kubernetes API. Figures of bursts are medians over the bursts.
    """

    applied_p50: float
    done_p50: float
    burst_p50: float
    burst_p99: float
    workloads_per_second: float
    events_per_second: float
    cpu_per_workload: float


@dataclass(frozen=True)
class Chains:
    """Both sides. outbox_p50: seconds from the transaction that put an event into the outbox to its publication."""

    sentinel: Figures
    null: Figures
    outbox_p50: float


@dataclass
class _Samples:
    """What was measured on one side."""

    started: Moments = field(default_factory=dict)
    bursts: list[tuple[list[float], float, float, float]] = field(default_factory=list)
    """Latencies, workloads a second, events a second, CPU seconds a workload."""


async def measure(said: Callable[[str], None]) -> Chains:
    """Runs both in turns; `said` is told about each part."""
    async with contextlib.AsyncExitStack() as stack:
        directory, meter = stack.enter_context(scratch_directory("null")), Meter()
        stack.enter_context(following(AttemptHandler(meter.add)))
        ours, platform, engine = await start_side(stack, BASE, meter, sentinel_side)
        theirs, *_ = await start_side(stack, write_null_chain(directory / "manifests"), meter, _null)
        sides = {ours.kind: ours, theirs.kind: theirs}
        samples = {kind: _Samples() for kind in sides}
        for side in sides.values():
            await run_all(side, [f"warm-{number}" for number in range(WARM_UP)])
        said("the chain, one workload at a time")
        for number in range(ONE_BY_ONE):
            for kind, side in sides.items():
                samples[kind].started |= await run_all(side, [f"single-{number}"])
        for number in range(BURSTS):
            said(f"the chain, burst {number + 1} of {BURSTS}")
            for kind, side in sides.items():
                samples[kind].bursts.append(await _burst(side, number))
        said("events that no reply carries")
        published = await _outbox_p50(platform, engine)
        sentinel, null = [await _figures(side, samples[kind]) for kind, side in sides.items()]
    return Chains(sentinel, null, published)


async def start_side(
    stack: contextlib.AsyncExitStack,
    manifests: Path,
    meter: Meter,
    side: Callable[[Platform, aiohttp.ClientSession, sa.Engine, Meter], Awaitable[Side]],
) -> tuple[Side, Platform, sa.Engine]:
    """A platform, and its chain; the engine is of its database. All of them end with the stack."""
    platform = await stack.enter_async_context(scratch_platform("bench", manifests=manifests))
    session = await stack.enter_async_context(aiohttp.ClientSession())
    engine = connect(platform.database_url, pool_size=2)
    stack.callback(engine.dispose)
    return await side(platform, session, engine, meter), platform, engine


async def sentinel_side(platform: Platform, session: aiohttp.ClientSession, engine: sa.Engine, meter: Meter) -> Side:
    """The chain of a platform: a workload without GPUs, from its submission until it is healthy."""
    publisher = IngressPublisher(session, platform.broker_url, "/bench")

    async def post(name: str) -> None:
        document = {"name": name, "type": "inference", "image": "fate.test/ready", "bake": "PT0S", "namespace": "bench"}
        await publisher.publish(WorkloadSubmitted, name, document)

    healthy = sa.select(workloads.c.name, workloads.c.updated_at).where(workloads.c.phase == "healthy")
    applied = sa.select(deployments.c.name, deployments.c.applied_at).where(deployments.c.applied_at.is_not(None))
    return Side("Sentinel", post, lambda: _moments(engine, applied), lambda: _moments(engine, healthy), meter)


async def _null(platform: Platform, session: aiohttp.ClientSession, engine: sa.Engine, meter: Meter) -> Side:
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

    return Side("null", post, lambda: at_hop(_APPLIED_HOP), lambda: at_hop(HOPS), meter)


async def _burst(side: Side, number: int) -> tuple[list[float], float, float, float]:
    """Latencies, workloads a second, events a second and CPU seconds a workload of one burst."""
    delivered, cpu, began = side.meter.delivered, await asyncio.to_thread(_cpu_seconds), time.time()
    started = await run_all(side, [f"burst-{number}-{one}" for one in range(AT_ONCE)])
    cpu = await asyncio.to_thread(_cpu_seconds) - cpu
    finished = await asyncio.to_thread(side.done)
    seconds = max(finished[name] for name in started) - began
    events = side.meter.delivered - delivered
    return latencies_of(started, finished), AT_ONCE / seconds, events / seconds, cpu / AT_ONCE


async def _figures(side: Side, samples: _Samples) -> Figures:
    applied = latencies_of(samples.started, await asyncio.to_thread(side.applied))
    done = latencies_of(samples.started, await asyncio.to_thread(side.done))
    latencies, workloads_per_second, events_per_second, cpu = zip(*samples.bursts, strict=True)
    return Figures(
        applied_p50=percentile(applied, 50),
        done_p50=percentile(done, 50),
        burst_p50=statistics.median(percentile(burst, 50) for burst in latencies),
        burst_p99=statistics.median(percentile(burst, 99) for burst in latencies),
        workloads_per_second=statistics.median(workloads_per_second),
        events_per_second=statistics.median(events_per_second),
        cpu_per_workload=statistics.median(cpu),
    )


def _cpu_seconds() -> float:
    """What this process and all below it have used so far, those that ended included, but for the Kubernetes API."""
    own, total = psutil.Process(), 0.0
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "knative.local.kubernetes" not in process.cmdline():
                total += sum(process.cpu_times()[:4])
    return total


async def _outbox_p50(platform: Platform, engine: sa.Engine) -> float:
    """Submits straight to intake, without `Prefer: reply`: the answer is in the outbox too, for somebody to publish."""
    kind = CATALOGUE.name_of(WorkloadSubmitted)
    url = f"http://127.0.0.1:{platform.port}/"
    async with aiohttp.ClientSession() as session:
        for number in range(ONE_BY_ONE):
            document = {"name": f"straight-{number}", "type": "inference", "image": "fate.test/ready", "bake": "PT0S"}
            listed = {"id": f"straight-{number}", "source": "/bench", "type": kind, "specversion": "1.0"}
            headers = {f"ce-{key}": value for key, value in listed.items()} | {"host": _INTAKE_HOST}
            async with session.post(url, json=document, headers=headers) as answer:
                answer.raise_for_status()
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while (waited := await asyncio.to_thread(_waited, engine)) is None:
            await asyncio.sleep(_POLL_SECONDS)
    return waited


def _waited(engine: sa.Engine) -> float | None:
    """The median of the seconds from an event's transaction to its publication; None while one is unpublished."""
    waited = sa.func.percentile_cont(0.5).within_group(sa.extract("epoch", outbox.c.published_at - outbox.c.created_at))
    open_rows = sa.func.count().filter(outbox.c.published_at.is_(None))
    with engine.connect() as connection:
        left, median = connection.execute(sa.select(open_rows, waited)).one()
    return None if left or median is None else float(median)


async def run_all(side: Side, names: Iterable[str]) -> Moments:
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


def latencies_of(started: Moments, ended: Moments) -> list[float]:
    """Seconds, the shortest first."""
    return sorted(ended[name] - at for name, at in started.items())


def _moments(engine: sa.Engine, query: sa.Executable) -> Moments:
    with engine.connect() as connection:
        rows: list[tuple[str, datetime]] = [(row[0], row[1]) for row in connection.execute(query)]
    return {name: at.timestamp() for name, at in rows}
