"""The agent beside a bare NVML loop over the same fields (P6): its reading of the GPUs, and all that it does.

Both use pynvml, on the NVML library of tests, where a call costs little more than one system call. A real driver works
longer for each, and the rest of what the agent does becomes less beside it: these ratios are the worst ones.
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
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pynvml
from rich.table import Table

from agent.nvml.calls import call_table
from agent.nvml.source import NvmlSource
from shared.models.telemetry import NodeState
from tests.support import brokers, kubelet
from tests.support.nvml import library
from tests.support.nvml.script import LINKS, NvmlScript, uuid_of

GPUS = 8
ROUNDS = 15
READINGS = 20
"""Of a round."""
SAMPLES = 30
"""Of the whole agent, one a second: CPU time of a process is counted in hundredths of a second."""
WARM_UP = 5
LIMIT = "P6 <= 1.5"
MEMORY_LIMIT = "P6 <= 60 MiB"
_MIB = 1 << 20
_PATIENCE = 60.0
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Agents:
    """CPU seconds of one reading of all GPUs (medians), and of one sample of the whole agent. fields: of one GPU.

    resident: bytes of the agent's process at the end: with the exporter, a publisher over HTTP, its spool and faults.
    """

    gpus: int
    fields: int
    bare: float
    reading: float
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
        said(f"the whole agent, {WARM_UP + SAMPLES} s")
        sample, resident = _whole_agent(directory)
    return Agents(GPUS, fields, bare, reading, sample, resident)


def _readings() -> tuple[int, float, float]:
    """The fields of a GPU, and the CPU seconds of the bare loop and of the agent's source."""
    source = NvmlSource()
    part = source.read(_NOW)
    if part.state is not NodeState.OK:
        raise AssertionError(f"the driver of tests is {part.state}")
    bare = BareLoop(set(part.gpus[0].metrics))
    if bare.read() != [dict(gpu.metrics) for gpu in part.gpus]:
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
    return len(part.gpus[0].metrics), statistics.median(alone), statistics.median(reading)


def _whole_agent(directory: Path) -> tuple[float, int]:
    """CPU seconds of a sample, and the resident memory afterwards. A sample has arrived when the broker has it."""
    with brokers.serving() as broker, kubelet.serving(directory / "kubelet.sock") as node:
        node.say(*(("search", f"web-{gpu}", "main", "nvidia.com/gpu", uuid_of(gpu)) for gpu in range(GPUS)))
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": str(directory),
            "NODE_NAME": "gpu-0",
            "SAMPLE_INTERVAL": "1s",
            "EXPORTER_ADDRESS": "127.0.0.1:0",
            "POD_RESOURCES_SOCKET": str(directory / "kubelet.sock"),
            "AGENT_STATE_DIR": str(directory / "state"),
            "K_SINK": broker.url,
            "LOG_LEVEL": "warning",
        }
        agent = subprocess.Popen([sys.executable, "-m", "agent"], env=environment)
        try:
            process = psutil.Process(agent.pid)
            _wait_for(broker, WARM_UP, agent)
            before, first = process.cpu_times(), len(broker.events)
            _wait_for(broker, first + SAMPLES, agent)
            after, last = process.cpu_times(), len(broker.events)
            used = after.user + after.system - before.user - before.system
            return used / (last - first), process.memory_info().rss
        finally:
            agent.send_signal(signal.SIGTERM)
            agent.wait(_PATIENCE)


def _wait_for(broker: brokers.Broker, events: int, agent: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + _PATIENCE
    while len(broker.events) < events:
        if agent.poll() is not None or time.monotonic() > limit:
            raise AssertionError(f"the agent sent {len(broker.events)} of {events} events")
        time.sleep(0.01)


class BareLoop:
    """Asks for these fields as a script would: handles are found once, and nothing can go wrong."""

    def __init__(self, fields: set[str]) -> None:
        pynvml.nvmlInit()
        self._handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        self._events = [pynvml.nvmlEventSetCreate() for _ in self._handles]
        for handle, events in zip(self._handles, self._events, strict=True):
            pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, events)
        self._calls = []
        missing = set(fields)
        for call in call_table().calls:
            if outputs := [output for output in call.outputs if output.field in missing]:
                self._calls.append((call.function, call.arguments, outputs))
                missing -= {output.field for output in outputs}
        self._ids: list[tuple[int, int]] = []
        self._fields: list[tuple[str, float]] = []
        for each in call_table().field_ids:
            if each.output.field in missing:
                missing.discard(each.output.field)
                scopes = range(LINKS) if each.each_link else (0,)
                self._ids += [(each.id, scope) for scope in scopes]
                self._fields += [(each.output.field, each.output.factor) for _ in scopes]

    def read(self) -> list[dict[str, float]]:
        return [self._read(handle, events) for handle, events in zip(self._handles, self._events, strict=True)]

    def _read(self, handle: Any, events: Any) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for function, arguments, outputs in self._calls:
            result = function(handle, *arguments)
            for output in outputs:
                metrics[output.field] = output.part(result) * output.factor
        values = pynvml.nvmlDeviceGetFieldValues(handle, self._ids)
        for value, (field, factor) in zip(values, self._fields, strict=True):
            if value.nvmlReturn == pynvml.NVML_SUCCESS:
                metrics[field] = metrics.get(field, 0.0) + value.value.ullVal * factor
        with suppress(pynvml.NVMLError_Timeout):
            pynvml.nvmlEventSetWait_v2(events, 0)
        return metrics


def table(found: Agents) -> Table:
    """The figures as people read them."""
    title = f"P6: the agent on {found.gpus} GPUs with {found.fields} fields each (CPU: median of {ROUNDS}, alternating)"
    shown = Table(title=title, title_justify="left")
    for column in ("", "figure", "ratio", "promised"):
        shown.add_column(column, justify="left" if not column else "right")
    shown.add_row("bare NVML loop, CPU ms", f"{found.bare * 1000:.2f}", "1", "")
    shown.add_row(
        "reading of the GPUs, CPU ms", f"{found.reading * 1000:.2f}", f"{found.reading / found.bare:.2f}", LIMIT
    )
    whole = f"whole sample, CPU ms ({SAMPLES}, one a second)"
    shown.add_row(whole, f"{found.sample * 1000:.2f}", f"{found.sample / found.bare:.2f}", "")
    shown.add_row("resident memory, MiB", f"{found.resident / _MIB:.1f}", "", MEMORY_LIMIT)
    return shown
