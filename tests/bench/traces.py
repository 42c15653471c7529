"""What tracing costs the chain: two laptop platforms at the same time, one of which records spans, in turns.

Spans go to a receiver in a process of its own, which is not counted. After each burst both sides wait until the last
batch is sent, so the sending counts. What tracing costs while it is off is the time of its hooks: they are called some
twenty times for a workload.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import statistics
import subprocess
import sys
import timeit
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection

import psutil
from rich.table import Table

from knative.local.runtime.platform import BASE, Platform
from knative.local.tools.replay.meter import Meter
from knative.local.tools.replay.summary import percentile
from shared import tracing
from shared.tracing import SpanKind
from tests.bench.chain import Side, latencies_of, run_all, sentinel_side, start_side

WARM_UP, ONE_BY_ONE, AT_ONCE, BURSTS = 5, 20, 40, 6
LIMIT = 1.05
"""What a workload may cost with tracing, beside one without."""

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_FLUSH_SECONDS = 5.5
"""A batch is sent five seconds after the one before, at the latest."""
_CALLS = 200_000
_COUNT_MODULES = """
import sys
from functions.deployment_execution import main
print(sum(name.split(".")[0] == "opentelemetry" for name in sys.modules))
"""


@dataclass
class Cost:
    """One side. functions, all: CPU seconds of a workload, one figure a burst, of the functions' processes and of all
    but the Kubernetes API. burst, single: seconds from submitted to healthy, p50 of each burst, and one at a time.
    """

    functions: list[float] = field(default_factory=list)
    all: list[float] = field(default_factory=list)
    burst: list[float] = field(default_factory=list)
    single: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Tracing:
    """Both sides. spans: of a workload. hook_ns, request_ns: nanoseconds of a span and of an event's, while tracing is
    off. modules: of OpenTelemetry that a function has imported then.
    """

    off: Cost
    on: Cost
    spans: float
    hook_ns: float
    request_ns: float
    modules: int


@dataclass(frozen=True)
class _Chain:
    side: Side
    platform: Platform
    cost: Cost


async def measure(said: Callable[[str], None]) -> Tracing:
    """Runs both in turns; `said` is told about each part."""
    async with contextlib.AsyncExitStack() as stack:
        address, spans = stack.enter_context(_receiver())
        off = await _started(stack)
        with _environment(_ENDPOINT, address):
            on = await _started(stack)
        chains = (off, on)
        for chain in chains:
            await run_all(chain.side, [f"warm-{number}" for number in range(WARM_UP)])
        said("one workload at a time")
        for number in range(ONE_BY_ONE):
            for chain in chains:
                started = await run_all(chain.side, [f"single-{number}"])
                chain.cost.single += latencies_of(started, await asyncio.to_thread(chain.side.done))
        await asyncio.sleep(_FLUSH_SECONDS)
        before = spans()
        for number in range(BURSTS):
            said(f"burst {number + 1} of {BURSTS}")
            for chain in chains if number % 2 else reversed(chains):
                await _burst(chain, number)
        recorded = (spans() - before) / (BURSTS * AT_ONCE)
    ran = subprocess.run([sys.executable, "-c", _COUNT_MODULES], env=_OFF, capture_output=True, check=True)
    return Tracing(off.cost, on.cost, recorded, _nanoseconds(_hook), _nanoseconds(_request), int(ran.stdout))


def table(found: Tracing) -> Table:
    title = f"The chain with tracing on and off ({BURSTS} bursts of {AT_ONCE} workloads, alternating)"
    shown = Table(title=title, title_justify="left")
    for column in ("", "off", "on", "ratio", "promised"):
        shown.add_column(column, justify="right" if column else "left")
    rows = (
        ("burst: CPU of a workload, ms", "all", f"<= {LIMIT}"),
        ("burst: CPU of a workload, functions alone, ms", "functions", ""),
        ("burst: submitted -> healthy p50, ms", "burst", ""),
        ("singly: submitted -> healthy p50, ms", "single", ""),
    )
    for text, name, promised in rows:
        off, on = (statistics.median(getattr(side, name)) for side in (found.off, found.on))
        shown.add_row(text, f"{off * 1000:,.1f}", f"{on * 1000:,.1f}", f"{on / off:.3f}", promised)
    shown.add_row("spans of a workload, ticks included", "0", f"{found.spans:.1f}", "", "")
    shown.add_row("modules of OpenTelemetry imported", str(found.modules), "", "", "0")
    shown.add_row("a span that is not recorded, ns", f"{found.hook_ns:.0f}", "", "", "")
    shown.add_row("an event that is not recorded, ns", f"{found.request_ns:.0f}", "", "", "")
    return shown


async def _started(stack: contextlib.AsyncExitStack) -> _Chain:
    side, platform, _ = await start_side(stack, BASE, Meter(), sentinel_side)
    return _Chain(side, platform, Cost())


async def _burst(chain: _Chain, number: int) -> None:
    before = await asyncio.to_thread(_cpu_seconds, chain.platform)
    started = await run_all(chain.side, [f"burst-{number}-{one}" for one in range(AT_ONCE)])
    done = await asyncio.to_thread(chain.side.done)
    await asyncio.sleep(_FLUSH_SECONDS)
    after = await asyncio.to_thread(_cpu_seconds, chain.platform)
    chain.cost.functions.append((after[0] - before[0]) / AT_ONCE)
    chain.cost.all.append((after[1] - before[1]) / AT_ONCE)
    chain.cost.burst.append(percentile(latencies_of(started, done), 50))


def _cpu_seconds(platform: Platform) -> tuple[float, float]:
    """Of the functions of a platform, and of everything: the other platform does next to nothing meanwhile."""
    functions = {service.pid for service in platform.services.values()}
    own, of_functions, total = psutil.Process(), 0.0, 0.0
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            command = " ".join(process.cmdline())
            if "knative.local.kubernetes" not in command and "multiprocessing" not in command:
                seconds = sum(process.cpu_times()[:2])
                total += seconds
                of_functions += seconds if process.pid in functions else 0.0
    return of_functions, total


def _hook() -> None:
    with tracing.span("transaction", SpanKind.CLIENT, {"db.system.name": "postgresql"}) as span:
        span.set({"http.response.status_code": 200})


def _request() -> None:
    attributes = {"id": "1", "source": "/bench", "type": "bench", "subject": "bench"}
    with tracing.within(tracing.carried(attributes), "receive", SpanKind.CONSUMER, tracing.span_attributes(attributes)):
        tracing.current()


def _nanoseconds(call: Callable[[], None]) -> float:
    return min(timeit.repeat(call, number=_CALLS, repeat=3)) / _CALLS * 1e9


_OFF = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")} | {
    "DATABASE_URL": "postgresql://nowhere/none",
    "CLUSTERS_DIR": "/nowhere",
}


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


@contextlib.contextmanager
def _receiver() -> Iterator[tuple[str, Callable[[], int]]]:
    """The URL of a receiver in a process of its own, and how many spans it was sent so far."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_receive, args=(theirs,), daemon=True)
    process.start()
    try:
        port = ours.recv()

        def count() -> int:
            ours.send(None)
            counted: int = ours.recv()
            return counted

        yield f"http://127.0.0.1:{port}", count
    finally:
        process.terminate()
        process.join()


def _receive(asked: Connection) -> None:
    import threading

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    counts: list[int] = []

    class Receiver(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
            counts.append(sum(len(scope.spans) for one in request.resource_spans for scope in one.scope_spans))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    asked.send(server.server_port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while True:
        asked.recv()
        asked.send(sum(counts))
