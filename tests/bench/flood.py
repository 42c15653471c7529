"""A thousand agents report to a laptop platform for a minute: everything is stored, once, and memory stays bounded.

Each agent posts a sample of eight GPUs to the broker every ten seconds, at a moment of its own, and one of ten samples
twice. What the platform cannot handle at once waits in the broker's log. Afterwards the rows are counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
import psutil
import sqlalchemy as sa
from rich.table import Table

from events import CATALOGUE
from events.telemetry import TelemetryGpu
from knative.local.runtime.scratch import scratch_platform
from shared.store.database import connect
from shared.telemetry.fields import GPU_FIELDS

AGENTS, SECONDS, INTERVAL, GPUS = 1_000, 60.0, 10.0, 8
SENT_TWICE = 0.1
_INGESTION = "telemetry_ingestion"
_POLL_SECONDS = 1.0
_PATIENCE_SECONDS = 900.0
_STORED = sa.text("SELECT count(*) FROM gpu_samples WHERE node LIKE 'flood-%'")
_LEFT_OVER = sa.text("""
    SELECT (SELECT coalesce(sum(samples), 0) FROM dropped_samples) + (SELECT count(*) FROM dead_letters)
""")


@dataclass
class Flood:
    """sent, again: events, and those of them that were sent a second time. expected, stored: rows. wrong: samples that
    were dropped, and dead letters. posting, draining: seconds. ingestion_mib, broker_mib: resident memory, highest of
    all processes of the function together and of the platform's own process, and before.
    """

    sent: int = 0
    again: int = 0
    expected: int = 0
    stored: int = 0
    wrong: int = 0
    posting: float = 0.0
    draining: float = 0.0
    ingestion_mib: list[float] = field(default_factory=list)
    broker_mib: list[float] = field(default_factory=list)


async def measure(said: Callable[[str], None], agents: int = AGENTS, seconds: float = SECONDS) -> Flood:
    """Raises AssertionError when a sample is lost, dropped or stored twice."""
    found = Flood()
    async with contextlib.AsyncExitStack() as stack:
        platform = await stack.enter_async_context(scratch_platform("bench"))
        engine = connect(platform.database_url, pool_size=1)
        stack.callback(engine.dispose)
        connector = aiohttp.TCPConnector(limit=64)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        metering = asyncio.create_task(_meter(found))
        stack.callback(metering.cancel)
        said(f"{agents} agents report for {seconds:.0f} s")
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(agents):
                group.create_task(_agent(session, platform.broker_url, number, seconds, found))
        found.posting = time.monotonic() - started
        found.expected = found.sent * GPUS
        said(f"{found.sent + found.again} events were sent; {found.expected} rows are to be stored")
        started = time.monotonic()
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while (stored := await asyncio.to_thread(_count, engine, _STORED)) < found.expected:
                await asyncio.sleep(_POLL_SECONDS)
        found.draining = time.monotonic() - started
        found.stored, found.wrong = stored, await asyncio.to_thread(_count, engine, _LEFT_OVER)
    if found.stored != found.expected or found.wrong:
        raise AssertionError(f"of {found.expected} rows {found.stored} are stored, and {found.wrong} events went wrong")
    return found


def table(found: Flood) -> Table:
    """The figures as people read them."""
    shown = Table(title=f"{AGENTS:,} agents report to a laptop platform for {SECONDS:.0f} s", title_justify="left")
    for column in ("", "figure"):
        shown.add_column(column, justify="right" if column else "left")
    rows = (
        ("events, and of them sent twice", f"{found.sent:,}, {found.again:,}"),
        ("rows expected, and stored", f"{found.expected:,}, {found.stored:,}"),
        ("dropped samples and dead letters", f"{found.wrong:,}"),
        ("seconds of posting, and until all was stored", f"{found.posting:.0f}, {found.draining:.0f}"),
        ("rows a second", f"{found.stored / (found.posting + found.draining):,.0f}"),
        ("memory of ingestion, MiB, highest", f"{max(found.ingestion_mib):.0f}"),
        ("memory of the broker's process, MiB, first and highest", _first_and_highest(found.broker_mib)),
    )
    for row in rows:
        shown.add_row(*row)
    return shown


def _first_and_highest(mib: list[float]) -> str:
    return f"{mib[0]:.0f}, {max(mib):.0f}"


async def _agent(session: aiohttp.ClientSession, url: str, number: int, seconds: float, found: Flood) -> None:
    """Posts a sample every interval, from a random moment on; a broker that does not take it is asked again."""
    chance = random.Random(number)
    node = f"flood-{number}"
    end = time.monotonic() + seconds
    await asyncio.sleep(chance.random() * INTERVAL)
    while time.monotonic() < end:
        due = time.monotonic() + INTERVAL
        event = _event(node, chance)
        await _post(session, url, *event)
        found.sent += 1
        if chance.random() < SENT_TWICE:
            await _post(session, url, *event)
            found.again += 1
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def _post(session: aiohttp.ClientSession, url: str, headers: dict[str, str], body: bytes) -> None:
    while True:
        with contextlib.suppress(aiohttp.ClientError):
            async with session.post(url, headers=headers, data=body) as answer:
                if answer.status == 202:
                    return
        await asyncio.sleep(1)


def _event(node: str, chance: random.Random) -> tuple[dict[str, str], bytes]:
    observed_at = datetime.now(UTC).isoformat()
    metrics = {name: one.maximum * chance.random() for name, one in GPU_FIELDS.items()}
    gpus: list[dict[str, Any]] = [
        {
            "gpu": str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{node}-{index}")),
            "index": index,
            "product": "NVIDIA H100 80GB HBM3",
            "metrics": metrics,
            "containers": [{"namespace": "search", "pod": f"{node}-7d9f6c8b5-x2x7k", "container": "main"}],
        }
        for index in range(GPUS)
    ]
    headers = {
        "ce-specversion": "1.0",
        "ce-id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"local/{node}/{observed_at}")),
        "ce-source": f"/sentinel/agents/local/{node}",
        "ce-type": CATALOGUE.name_of(TelemetryGpu),
        "ce-subject": node,
        "ce-partitionkey": node,
        "content-type": "application/json",
    }
    return headers, json.dumps({"cluster": "local", "node": node, "observedAt": observed_at, "gpus": gpus}).encode()


def _count(engine: sa.Engine, statement: sa.TextClause) -> int:
    with engine.connect() as connection:
        return int(connection.execute(statement).scalar_one())


async def _meter(found: Flood) -> None:
    """Notes what the processes hold, every second."""
    own = psutil.Process()
    while True:
        held = 0
        for process in own.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if any(_INGESTION in part for part in process.cmdline()):
                    held += process.memory_info().rss
        found.ingestion_mib.append(held / 2**20)
        found.broker_mib.append(own.memory_info().rss / 2**20)
        await asyncio.sleep(1)
