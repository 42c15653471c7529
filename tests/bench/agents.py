"""The agent's reading of a node's GPUs beside a bare loop over the same fields, alternating (P6).

Both use pynvml, on the NVML library of tests, where a call costs what one system call does. A real driver takes longer
for each, so the ratio here is the worst one.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pynvml
from rich.table import Table

from agent.nvml.calls import call_table
from agent.nvml.source import NvmlSource
from shared.models.telemetry import NodeState
from tests.support.nvml import library
from tests.support.nvml.script import LINKS, NvmlScript

GPUS = 8
ROUNDS = 15
READINGS = 20
"""Of a round."""
LIMIT = "P6 <= 1.5"
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Agents:
    """Medians of the CPU seconds of one reading of all GPUs. fields: of one GPU."""

    gpus: int
    fields: int
    reading: float
    bare: float


def measure(said: Callable[[str], None]) -> Agents:
    """Needs a C compiler for the library."""
    said("a reading of the agent beside a bare NVML loop")
    with tempfile.TemporaryDirectory(prefix="sentinel-bench-") as name:
        path = Path(name) / "nvml.script"
        os.environ["NVML_SCRIPT"] = str(path)
        NvmlScript(path, library.load(library.compile_library(Path(name))), GPUS)
        source = NvmlSource()
        part = source.read(_NOW)
        if part.state is not NodeState.OK:
            raise AssertionError(f"the driver of tests is {part.state}")
        bare = BareLoop(set(part.gpus[0].metrics))
        if bare.read() != [dict(gpu.metrics) for gpu in part.gpus]:
            raise AssertionError("the bare loop and the agent read different things")
        reading: list[float] = []
        alone: list[float] = []
        ways: tuple[tuple[Callable[[], object], list[float]], ...] = (
            (lambda: source.read(_NOW), reading),
            (bare.read, alone),
        )
        for _ in range(ROUNDS):
            for read, seconds in ways:
                started = time.process_time()
                for _ in range(READINGS):
                    read()
                seconds.append((time.process_time() - started) / READINGS)
        source.close()
    return Agents(GPUS, len(part.gpus[0].metrics), statistics.median(reading), statistics.median(alone))


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
    """The medians as people read them."""
    title = f"P6: CPU of one reading of {found.gpus} GPUs with {found.fields} fields (median of {ROUNDS}, alternating)"
    shown = Table(title=title, title_justify="left")
    for column in ("reading", "ms", "ratio", "promised"):
        shown.add_column(column, justify="left" if column == "reading" else "right")
    shown.add_row("bare NVML loop", f"{found.bare * 1000:.2f}", "1", "")
    shown.add_row("agent", f"{found.reading * 1000:.2f}", f"{found.reading / found.bare:.2f}", LIMIT)
    return shown
