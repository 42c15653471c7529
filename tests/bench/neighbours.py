"""Submitted -> applied on a healthy cluster, while another cluster answers and while it hangs, in turns (R12).

The other cluster is a stand-in API in a process of its own, which is stopped by SIGSTOP: it accepts connections and
never answers. Then it gets more workloads than execution has threads, before anything is measured. Each workload for
the healthy cluster comes with one for the other, in both turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp
import sqlalchemy as sa
from rich.table import Table

from events.workload import WorkloadSubmitted
from knative.local.runtime.scratch import scratch_directory, scratch_platform
from knative.local.tools.publisher import IngressPublisher
from shared.models.cluster import Cluster
from shared.store.database import connect
from shared.store.tables import deployments, workloads
from shared.store.unit_of_work import Store
from tests.support.stand_ins import StandIn

ROUNDS, EACH, BACKLOG = 5, 12, 30
LIMIT = "R12 <= 1.5"
HEALTHY, OTHER = "local", "far"
_POLL_SECONDS = 0.02
_PATIENCE_SECONDS = 120.0


@dataclass
class Neighbours:
    """Seconds from submitted to applied on the healthy cluster, of every workload."""

    answers: list[float] = field(default_factory=list)
    hangs: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Of the medians."""
        return statistics.median(self.hangs) / statistics.median(self.answers)


async def measure(said: Callable[[str], None]) -> Neighbours:
    """Runs both in turns, after a round that is not counted. Between rounds everything becomes healthy."""
    async with contextlib.AsyncExitStack() as stack:
        platform = await stack.enter_async_context(scratch_platform("bench"))
        other = StandIn(stack.enter_context(scratch_directory("neighbour")))
        stack.callback(other.end)
        stack.callback(other.send_signal, signal.SIGCONT)
        (platform.state.path / "clusters" / OTHER).write_bytes(other.kubeconfig.read_bytes())
        engine = connect(platform.database_url, pool_size=2)
        stack.callback(engine.dispose)
        _register(engine)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        publisher = IngressPublisher(session, platform.broker_url, "/bench")
        await _round(publisher, engine, "warm")
        await _until(lambda: _all_are_healthy(engine))
        found = Neighbours()
        for number in range(ROUNDS):
            said(f"a cluster beside another that hangs, round {number + 1} of {ROUNDS}")
            found.answers += await _round(publisher, engine, f"answers-{number}")
            await _until(lambda: _all_are_healthy(engine))
            other.send_signal(signal.SIGSTOP)
            for one in range(BACKLOG):
                name = f"backlog-{number}-{one}"
                await publisher.publish(WorkloadSubmitted, name, _document(name, OTHER))
            found.hangs += await _round(publisher, engine, f"hangs-{number}")
            other.send_signal(signal.SIGCONT)
            await _until(lambda: _all_are_healthy(engine))
    return found


def table(found: Neighbours) -> Table:
    """The figures as people read them."""
    title = f"R12: submitted -> applied on one of two clusters ({ROUNDS} rounds of {EACH}, alternating)"
    shown = Table(title=title, title_justify="left")
    for column in ("the other cluster", "p50, ms", "max, ms", "ratio", "promised"):
        shown.add_column(column, justify="left" if column == "the other cluster" else "right")
    for text, seconds, more in (
        ("answers", found.answers, ("1", "")),
        ("hangs", found.hangs, (f"{found.ratio:.2f}", LIMIT)),
    ):
        shown.add_row(text, f"{statistics.median(seconds) * 1000:.0f}", f"{max(seconds) * 1000:.0f}", *more)
    return shown


async def _round(publisher: IngressPublisher, engine: sa.Engine, label: str) -> list[float]:
    """Seconds to applied of workloads that are submitted to the healthy cluster one after the other."""
    found = []
    for number in range(EACH):
        name = f"{label}-{number}"
        await publisher.publish(WorkloadSubmitted, f"other-{name}", _document(f"other-{name}", OTHER))
        started = time.time()
        await publisher.publish(WorkloadSubmitted, name, _document(name, HEALTHY))
        found.append((await _applied(engine, name)).timestamp() - started)
    return found


def _document(name: str, cluster: str) -> dict[str, Any]:
    placed = {"clusters": {"matchLabels": {"place": cluster}}}
    return {"name": name, "type": "inference", "image": "fate.test/ready", "bake": "PT0S", **placed}


async def _applied(engine: sa.Engine, name: str) -> datetime:
    query = sa.select(deployments.c.applied_at).where(deployments.c.name == name)
    applied: list[datetime | None] = []

    def look() -> bool:
        with engine.connect() as connection:
            applied.append(connection.execute(query).scalar_one_or_none())
        return applied[-1] is not None

    await _until(look)
    assert applied[-1] is not None
    return applied[-1]


def _all_are_healthy(engine: sa.Engine) -> bool:
    query = sa.select(sa.func.count()).select_from(workloads).where(workloads.c.phase != "healthy")
    with engine.connect() as connection:
        return connection.execute(query).scalar_one() == 0


async def _until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not await asyncio.to_thread(look):
            await asyncio.sleep(_POLL_SECONDS)


def _register(engine: sa.Engine) -> None:
    with Store(engine).begin() as work:
        for name in (HEALTHY, OTHER):
            work.catalogue.register_cluster(Cluster(name, {"place": name}))
