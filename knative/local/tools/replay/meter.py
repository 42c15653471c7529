"""What the platform did during a replay: deliveries, retries, rejections; and the memory that it took."""

from __future__ import annotations

import asyncio
import uuid

import psutil

from events import CATALOGUE
from events.workload import WorkloadRejected
from knative.local.broker.attempts import Attempt
from knative.local.broker.wire import Record

_REJECTED = CATALOGUE.name_of(WorkloadRejected)


class Meter:
    """Counts deliveries, and keeps what intake rejected."""

    def __init__(self) -> None:
        self.delivered = 0
        self.failed = 0
        self._rejected: list[tuple[uuid.UUID, str]] = []

    def add(self, attempt: Attempt) -> None:
        """Counts one attempt. An event that no Trigger takes was not delivered."""
        if attempt.event.attributes["type"] == _REJECTED:
            self._reject(attempt.event)
        if not attempt.subscriber:
            return
        if attempt.ok:
            self.delivered += 1
        else:
            self.failed += 1

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
