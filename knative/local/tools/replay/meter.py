"""What the platform did during a replay: deliveries, retries, rejections; and the memory that it took."""

from __future__ import annotations

import asyncio
import io
import uuid

import psutil

from events import CATALOGUE
from events.workload import WorkloadRejected
from knative.local.broker.wire import Record
from knative.local.runtime.report import Report

_REJECTED = CATALOGUE.name_of(WorkloadRejected)
_NOT_TAKEN = "-"


class Meter(Report):
    """Counts instead of writing, but for warnings, which are kept in `log`."""

    def __init__(self) -> None:
        self.log = io.StringIO()
        super().__init__(self.log, level="warning")
        self.delivered = 0
        self.failed = 0
        self._rejected: list[tuple[uuid.UUID, str]] = []

    def delivery(self, record: Record, function: str, outcome: str, milliseconds: float, *, ok: bool) -> None:
        """See Report."""
        if record.attributes["type"] == _REJECTED:
            self._reject(record)
        if function == _NOT_TAKEN:
            return
        if ok:
            self.delivered += 1
        else:
            self.failed += 1
            super().delivery(record, function, outcome, milliseconds, ok=ok)

    def rejections(self) -> list[tuple[uuid.UUID, str]]:
        """(workload, reason) of what intake has rejected since the last call."""
        found, self._rejected = self._rejected, []
        return found

    def _reject(self, record: Record) -> None:
        data = WorkloadRejected.model_validate_json(record.data or b"{}")
        if data.workload is not None:
            self._rejected.append((data.workload, "; ".join(f"{e.field}: {e.message}" for e in data.errors)))


async def peak_memory(found: list[int], interval: float = 2.0) -> None:
    """Keeps `found[0]` at the most bytes that this process and all below it have taken together, until cancelled."""
    while True:
        found[0] = max(found[0], await asyncio.to_thread(_memory))
        await asyncio.sleep(interval)


def _memory() -> int:
    """Bytes; pages that processes share count once where the system tells (Linux)."""
    own = psutil.Process()
    total = 0
    for process in (own, *own.children(recursive=True)):
        try:
            full = process.memory_full_info()
            total += getattr(full, "pss", full.rss)
        except psutil.Error:
            continue  # it has ended meanwhile, or is another user's
    return total
