"""The agent beside a bare NVML loop over the same fields (P6): its reading of the GPUs, and all that it does.

Both use pynvml, on the NVML library of tests, where a call costs little more than one system call. A real driver works
longer for each, and the rest of what the agent does becomes less beside it: these ratios are the worst ones.

A loop that reads without a pause finds everything in the caches of the CPU, and a process that wakes up once a second
finds nothing there. So the whole agent is compared with a loop that sleeps as long, at the same time on the same CPUs.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.table import Table

from agent.nvml.source import NvmlSource
from agent.pods import DEFAULT_INTERVAL as PODS_INTERVAL
from agent.settings import DEFAULT_INTERVAL
from tests.bench.nvml_loop import BareLoop, measured_fields
from tests.support import brokers, kubelet
from tests.support.nvml import library
from tests.support.nvml.script import NvmlScript, uuid_of

GPUS = 8
ROUNDS = 15
READINGS = 20
"""Of a round."""
SAMPLES = 45
"""Of the whole agent, one a second."""
WARM_UP = 35
"""Samples before: after 30 s the agent has imported and connected everything, and has given memory back."""
LIMIT = "P6 <= 1.5"
MEMORY_LIMIT = "P6 <= 60 MiB"
_MIB = 1 << 20
_PATIENCE = 120.0
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Agents:
    """CPU seconds of one reading of all GPUs, without a pause between (medians) and once a second (means). fields: of
    one GPU.

    resident: bytes of the agent's process at the end: with the exporter, a publisher over HTTP, its spool and faults.
    """

    gpus: int
    fields: int
    bare: float
    reading: float
    bare_woken: float
    sample: float
    resident: int


def measure(said: Callable[[str], None]) -> Agents:
    """Needs a C compiler for the library."""
    with tempfile.TemporaryDirectory(prefix="sentinel-bench-") as name:
        directory = Path(name)
        os.environ["NVML_SCRIPT"] = str(directory / "nvml.script")
        compiled = library.compile_library(directory)
        NvmlScript(directory / "nvml.script", library.load(compiled), GPUS)
        said("a reading of the agent beside a bare NVML loop")
        fields, bare, reading = _readings()
        said(f"the whole agent beside a loop that sleeps as long, {WARM_UP + SAMPLES} s")
        bare_woken, sample, resident = _woken(directory)
    return Agents(GPUS, fields, bare, reading, bare_woken, sample, resident)


def _readings() -> tuple[int, float, float]:
    """The fields of a GPU, and the CPU seconds of the bare loop and of the agent's source."""
    source = NvmlSource()
    fields = measured_fields(source)
    bare = BareLoop(fields)
    if bare.read() != [dict(gpu.metrics) for gpu in source.read(_NOW).gpus]:
        raise AssertionError("the bare loop and the agent read different things")
    alone: list[float] = []
    reading: list[float] = []
    ways: tuple[tuple[Callable[[], object], list[float]], ...] = (
        (bare.read, alone),
        (lambda: source.read(_NOW), reading),
    )
    for _ in range(ROUNDS):
        for read, seconds in ways:
            started = time.process_time()
            for _ in range(READINGS):
                read()
            seconds.append((time.process_time() - started) / READINGS)
    source.close()
    return len(fields), statistics.median(alone), statistics.median(reading)


def _woken(directory: Path) -> tuple[float, float, int]:
    """CPU seconds of a reading of the bare loop and of a sample of the agent, and the agent's memory afterwards.

    The agent asks the kubelet as often, by samples, as with the defaults. A sample has arrived when the broker has it.
    """
    with brokers.serving() as broker, kubelet.serving(directory / "kubelet.sock") as node:
        node.say(*(("search", f"web-{gpu}", "main", "nvidia.com/gpu", uuid_of(gpu)) for gpu in range(GPUS)))
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": str(directory),
            "NODE_NAME": "gpu-0",
            "SAMPLE_INTERVAL": "1s",
            "EXPORTER_ADDRESS": "127.0.0.1:0",
            "POD_RESOURCES_SOCKET": str(directory / "kubelet.sock"),
            "POD_RESOURCES_INTERVAL": f"{PODS_INTERVAL // DEFAULT_INTERVAL}s",
            "AGENT_STATE_DIR": str(directory / "state"),
            "K_SINK": broker.url,
            "LOG_LEVEL": "warning",
        }
        agent = subprocess.Popen([sys.executable, "-m", "agent"], env=environment)
        command = [sys.executable, "-m", "tests.bench.nvml_loop", "1", str(WARM_UP), str(SAMPLES)]
        loop = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            _wait_for(broker, WARM_UP, agent)
            before, first = _cpu_seconds(agent.pid), len(broker.events)
            _wait_for(broker, first + SAMPLES, agent)
            used, last = _cpu_seconds(agent.pid) - before, len(broker.events)
            resident = psutil.Process(agent.pid).memory_info().rss
            bare, _ = loop.communicate(timeout=_PATIENCE)
            return float(bare), used / (last - first), resident
        finally:
            loop.kill()
            agent.send_signal(signal.SIGTERM)
            agent.wait(_PATIENCE)


def _cpu_seconds(pid: int) -> float:
    """Of all threads of a process, in user and system mode, to the nanosecond: clock_getcpuclockid(3)."""
    return time.clock_gettime(~pid << 3 | 2)


def _wait_for(broker: brokers.Broker, events: int, agent: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + _PATIENCE
    while len(broker.events) < events:
        if agent.poll() is not None or time.monotonic() > limit:
            raise AssertionError(f"the agent sent {len(broker.events)} of {events} events")
        time.sleep(0.01)


def table(found: Agents) -> Table:
    """The figures as people read them."""
    title = f"P6: the agent on {found.gpus} GPUs with {found.fields} fields each"
    shown = Table(title=title, title_justify="left")
    for column in ("", "figure", "ratio", "promised"):
        shown.add_column(column, justify="left" if not column else "right")

    def row(what: str, seconds: float, beside: float, promised: str = "") -> None:
        shown.add_row(what, f"{seconds * 1000:.2f}", f"{seconds / beside:.2f}", promised)

    row("bare NVML loop without a pause, CPU ms", found.bare, found.bare)
    row(f"reading of the GPUs without a pause, CPU ms (median of {ROUNDS}, alternating)", found.reading, found.bare)
    row("bare NVML loop, once a second, CPU ms", found.bare_woken, found.bare_woken)
    row(f"whole sample, once a second, CPU ms (mean of {SAMPLES})", found.sample, found.bare_woken, LIMIT)
    share = 100 * found.sample / DEFAULT_INTERVAL.total_seconds()
    shown.add_row(f"of one CPU, at a sample each {DEFAULT_INTERVAL.total_seconds():g} s", f"{share:.3f} %", "", "")
    shown.add_row("resident memory, MiB", f"{found.resident / _MIB:.1f}", "", MEMORY_LIMIT)
    return shown
