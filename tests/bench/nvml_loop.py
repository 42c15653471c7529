"""A bare NVML loop over the fields that the agent reads: `python -m tests.bench.nvml_loop INTERVAL WARM_UP READINGS`.

It prints the CPU seconds of a reading, all that the process spends from one to the next.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pynvml

from agent.nvml.calls import call_table
from agent.nvml.source import NvmlSource
from shared.models.telemetry import NodeState
from tests.support.nvml.script import LINKS


def measured_fields(source: NvmlSource) -> set[str]:
    """What the agent reads of the first GPU, which every GPU of the tests has."""
    part = source.read(datetime.now(UTC))
    if part.state is not NodeState.OK:
        raise AssertionError(f"the driver of tests is {part.state}")
    return set(part.gpus[0].metrics)


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


def main(interval: str, warm_up: str, readings: str) -> None:
    source = NvmlSource()
    loop = BareLoop(measured_fields(source))
    source.close()
    for _ in range(int(warm_up)):
        time.sleep(float(interval))
        loop.read()
    started = time.process_time()
    for _ in range(int(readings)):
        time.sleep(float(interval))
        loop.read()
    print((time.process_time() - started) / int(readings))


if __name__ == "__main__":
    main(*sys.argv[1:])
