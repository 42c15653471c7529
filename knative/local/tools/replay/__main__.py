"""`python -m knative.local.tools.replay TRACE`: replays a cluster trace, and prints what came of it.

Exit status 0 when every workload came to an end and the ledger balances, 1 when not, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from knative.local.broker.attempts import AttemptHandler
from knative.local.cluster.client import ClusterRequestFailed
from knative.local.resources.loader import ManifestError
from knative.local.runtime.logs import Warnings, following
from knative.local.runtime.platform import Platform, StartFailed
from knative.local.runtime.scratch import scratch_platform
from knative.local.tools.publisher import IngressPublisher, NotAccepted
from knative.local.tools.replay.cluster import create_nodes, register
from knative.local.tools.replay.driver import Driver, Plan
from knative.local.tools.replay.lifecycles import Lifecycles
from knative.local.tools.replay.meter import Meter, peak_memory
from knative.local.tools.replay.observation import WorkloadWatcher, store_totals
from knative.local.tools.replay.summary import Effort, Summary, problems, rendered, summarise
from knative.local.tools.replay.trace import Node, Pod, TraceError, read_nodes, read_pods
from shared.errors import SentinelError
from shared.store.database import connect

_INTERRUPTED = 130
_CPU_SECONDS_A_WORKLOAD = 0.14
"""Measured on one machine, for the estimate at the start alone; the progress bar knows better after a while."""

_USEFUL_CORES = 4


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        pods = read_pods(options.trace, options.limit)
        nodes = read_nodes(options.nodes) if options.nodes else None
        return asyncio.run(_run(pods, nodes, options))
    except (TraceError, ManifestError, StartFailed, SentinelError, ClusterRequestFailed, NotAccepted) as error:
        print(f"sentinel: {error}", file=sys.stderr)
    except (aiohttp.ClientError, OSError) as error:
        print(f"sentinel: {type(error).__name__}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted before the first workload", file=sys.stderr)
        return _INTERRUPTED
    return 1


async def _run(pods: Sequence[Pod], nodes: Sequence[Node] | None, options: argparse.Namespace) -> int:
    console, meter = Console(), Meter()
    fleet = f"{len(nodes):,} nodes" if nodes else "the default nodes"
    console.print(f"Replaying {len(pods):,} workloads on {fleet}: {_estimate(pods, options.speed)}", highlight=False)
    warnings = Warnings()
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(following(AttemptHandler(meter.add), warnings.handler))
        platform = await stack.enter_async_context(scratch_platform("replay", nodes="none" if nodes else "default"))
        if nodes:
            await create_nodes(platform.kubeconfig, nodes)
        stopped = asyncio.Event()
        summary = await _replay(pods, options, platform, meter, console, stopped)
    interrupted = stopped.is_set()
    console.print(rendered(summary))
    wrong = problems(summary, keep=options.keep, complete=not interrupted)
    for problem in wrong:
        console.print(problem, style="red", highlight=False, soft_wrap=True)
    if wrong:
        console.print(warnings.tail(), highlight=False, markup=False, soft_wrap=True)
        return 1
    if interrupted:
        console.print("Interrupted; these are the figures so far.", highlight=False)
        return _INTERRUPTED
    console.print("Every workload came to an end; nothing is lost and nothing is stuck.", highlight=False)
    return 0


async def _replay(
    pods: Sequence[Pod],
    options: argparse.Namespace,
    platform: Platform,
    meter: Meter,
    console: Console,
    stopped: asyncio.Event,
) -> Summary:
    engine = connect(platform.database_url, pool_size=2, max_overflow=0)
    memory = [0]
    sampler = asyncio.create_task(peak_memory(memory))
    try:
        capacity = await asyncio.to_thread(register, platform, engine)
        async with aiohttp.ClientSession() as session:
            publisher = IngressPublisher(session, platform.broker_url, "/replay")
            plan = Plan(pods, capacity, options.speed, options.keep)
            driver = Driver(plan, publisher, WorkloadWatcher(engine), meter)
            delivered, started = meter.delivered, time.monotonic()
            with _stopping(stopped), _progress(console) as progress:
                progress.print("The platform is up. Ctrl-C ends the replay, with the figures so far.")
                task = progress.add_task("", total=len(pods), note="")
                await driver.run(stopped, lambda lifecycles: _show(progress, task, lifecycles))
            seconds = time.monotonic() - started
        await driver.observe_everything()
        found = await asyncio.to_thread(store_totals, engine)
        effort = Effort(seconds, meter.delivered - delivered, meter.failed, memory[0])
        return summarise(len(pods), driver.lifecycles, found, effort)
    finally:
        sampler.cancel()
        engine.dispose()


def _show(progress: Progress, task: TaskID, lifecycles: Lifecycles) -> None:
    placed = sum(1 for lifecycle in lifecycles.by_workload.values() if lifecycle.placed_at is not None)
    over = len(lifecycles.by_workload) - len(lifecycles.open)
    progress.update(task, completed=over, note=f"{placed:,} placed, {len(lifecycles.open):,} in hand")


def _progress(console: Console) -> Progress:
    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


@contextlib.contextmanager
def _stopping(stopped: asyncio.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM set the event, once; a second Ctrl-C ends the program the hard way."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop() -> None:
        stopped.set()
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _estimate(pods: Sequence[Pod], speed: float | None) -> str:
    seconds = len(pods) * _CPU_SECONDS_A_WORKLOAD / min(os.cpu_count() or 1, _USEFUL_CORES)
    if speed is not None:
        seconds = max(seconds, max(pod.deleted or pod.created for pod in pods) / speed)
    return f"about {seconds / 60:.0f} minutes" if seconds >= 90 else f"about {max(10, seconds):.0f} seconds"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m knative.local.tools.replay", description=__doc__)
    parser.add_argument("trace", type=Path, help="pods as CSV")
    parser.add_argument("--nodes", type=Path, help="nodes as CSV (default: the laptop platform's own)")
    parser.add_argument("--limit", type=_positive(int), help="replay the first pods only")
    parser.add_argument("--speed", type=_positive(float), help="seconds of the trace a second (default: no waiting)")
    parser.add_argument("--keep", action="store_true", help="withdraw nothing: the cluster fills up")
    return parser


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise ValueError
        return value

    parse.__name__ = f"positive {kind.__name__}"  # argparse names it in its message
    return parse


if __name__ == "__main__":
    sys.exit(main())
