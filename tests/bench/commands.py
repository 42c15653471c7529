"""`sentinel get` beside `kubectl get` on one platform, alternating: what a person waits for (P9).

kubectl is taken from PATH. Without it there is no peer, and the table says what is missing.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from rich.table import Table

from events.workload import WorkloadSubmitted
from knative.local.runtime.scratch import scratch_platform
from knative.local.tools.publisher import IngressPublisher
from shared.models.stored import WorkloadFilter
from shared.store.database import connect
from shared.store.unit_of_work import Store

ROUNDS, WORKLOADS = 9, 5
LIMIT = "P9 <= 2.5"
_PATIENCE_SECONDS = 60.0


@dataclass
class Commands:
    """Seconds of each run. kubectl is empty where there is none in PATH."""

    sentinel: list[float] = field(default_factory=list)
    kubectl: list[float] = field(default_factory=list)


async def measure(said: Callable[[str], None]) -> Commands:
    """Runs both in turns, after one run of each that is not counted."""
    found, kubectl = Commands(), shutil.which("kubectl")
    async with scratch_platform("bench") as platform, aiohttp.ClientSession() as session:
        publisher = IngressPublisher(session, platform.broker_url, "/bench")
        for number in range(WORKLOADS):
            name = f"command-{number}"
            document = {"name": name, "type": "inference", "image": "fate.test/ready", "bake": "PT0S"}
            await publisher.publish(WorkloadSubmitted, name, document)
        await asyncio.to_thread(_wait, platform.database_url)
        sentinel = [str(Path(sys.executable).with_name("sentinel")), "--state", str(platform.state.path), "get"]
        peer = [kubectl or "", "--kubeconfig", str(platform.kubeconfig), "get", "deployments", "--all-namespaces"]
        for number in range(ROUNDS + 1):
            said(f"commands, round {number} of {ROUNDS}")
            for command, seconds in ((sentinel, found.sentinel), (peer, found.kubectl)):
                if command[0]:
                    taken = await asyncio.to_thread(_run, command)
                    if number:
                        seconds.append(taken)
    return found


def table(found: Commands) -> Table:
    """The medians as people read them."""
    shown = Table(title=f"P9: a command that reads (median of {ROUNDS}, alternating)", title_justify="left")
    for column in ("command", "ms", "ratio", "promised"):
        shown.add_column(column, justify="left" if column == "command" else "right")
    ours = statistics.median(found.sentinel)
    if found.kubectl:
        theirs = statistics.median(found.kubectl)
        shown.add_row("sentinel get", f"{ours * 1000:.0f}", f"{ours / theirs:.2f}", LIMIT)
        shown.add_row("kubectl get deployments", f"{theirs * 1000:.0f}", "1", "")
    else:
        shown.add_row("sentinel get", f"{ours * 1000:.0f}", "kubectl is not in PATH: put it there", LIMIT)
    return shown


def _wait(database_url: str) -> None:
    store, end = Store(connect(database_url, pool_size=1)), time.monotonic() + _PATIENCE_SECONDS
    try:
        while time.monotonic() < end:
            with store.read() as work:
                if len(work.workloads.find(WorkloadFilter(), WORKLOADS)) == WORKLOADS:
                    return
            time.sleep(0.1)
    finally:
        store.close()
    raise AssertionError(f"{WORKLOADS} workloads were submitted and did not all come")


def _run(command: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started
