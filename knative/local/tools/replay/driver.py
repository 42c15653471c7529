"""The loop of a replay: submits, watches, withdraws.

So many workloads are on their way in at a time as keep the chain busy, and no more: beyond that, waiting only grows.
Results make room for the next ones. Of those on their way out there may be more, because a removal waits for pods to
go, and that for the tick; when removals do not keep up at all, nothing new is submitted. A workload that only waits for
a node costs the chain little and takes no place; but of those, too, there may be only so many, because every tick looks
at each of them.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from events.workload import WorkloadSubmitted, WorkloadWithdrawn
from knative.local.tools.publisher import IngressPublisher, NotAccepted
from knative.local.tools.replay.lifecycles import Lifecycle, Lifecycles
from knative.local.tools.replay.meter import Meter
from knative.local.tools.replay.observation import WorkloadWatcher
from knative.local.tools.replay.trace import Pod
from knative.local.tools.replay.workloads import id_of, withdrawal_of, workload_of

MAX_UNSETTLED = 24
MAX_WITHDRAWN = 60
MAX_WAITING = 200
STALLED_SECONDS = 180.0
"""With nothing new of any workload for so long, nothing will come any more: deadlines and all but the last of the
broker's retries are shorter."""

_PATIENCE_SECONDS = 3.0
_POLL_SECONDS = 0.2
_TRIES = 6


@dataclass(frozen=True)
class Plan:
    """What to replay. speed: seconds of the trace a second, None without any waiting. capacity: GPUs by SKU."""

    pods: Sequence[Pod]
    capacity: Mapping[str, int]
    speed: float | None
    keep: bool


class Driver:
    """Replays a plan on a running platform."""

    def __init__(self, plan: Plan, publisher: IngressPublisher, watcher: WorkloadWatcher, meter: Meter) -> None:
        self.lifecycles = Lifecycles(plan.keep)
        self._plan = plan
        self._publisher = publisher
        self._watcher = watcher
        self._meter = meter
        self._left = deque(plan.pods)
        self._started = time.time()
        self._last_change = time.monotonic()

    async def run(self, stopped: asyncio.Event, progress: Callable[[Lifecycles], None]) -> None:
        """Returns when every workload is over, when nothing moves any more, or when `stopped` is set."""
        self._started, self._last_change = time.time(), time.monotonic()
        while not stopped.is_set():
            await self._observe(self._watcher.changed)
            async with asyncio.TaskGroup() as group:
                for work in (*self._withdrawals(), *self._submissions()):
                    group.create_task(work)
            progress(self.lifecycles)
            if not self._left and not self.lifecycles.open:
                return
            if self._stalled():
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def observe_everything(self) -> None:
        """Brings every lifecycle up to date."""
        await self._observe(self._watcher.everything)

    async def _observe(self, read: Callable[[], Sequence[Any]]) -> None:
        for observation in await asyncio.to_thread(read):
            if self.lifecycles.seen(observation):
                self._last_change = time.monotonic()
        for workload, reason in self._meter.rejections():
            self.lifecycles.rejected(workload, reason)
            self._last_change = time.monotonic()

    def _stalled(self) -> bool:
        busy = [lifecycle for lifecycle in self.lifecycles.open if not lifecycle.settled or lifecycle.withdrawn]
        return bool(busy) and time.monotonic() - self._last_change > STALLED_SECONDS

    def _submissions(self) -> list[Coroutine[Any, Any, None]]:
        now = time.time()
        withdrawn = sum(1 for lifecycle in self.lifecycles.open if lifecycle.withdrawn)
        unsettled = [lifecycle for lifecycle in self.lifecycles.open if not lifecycle.settled]
        waiting = sum(1 for lifecycle in unsettled if lifecycle.only_waits(now, _PATIENCE_SECONDS))
        room = MAX_UNSETTLED - (len(unsettled) - waiting) if withdrawn < MAX_WITHDRAWN and waiting < MAX_WAITING else 0
        found: list[Coroutine[Any, Any, None]] = []
        while room > len(found) and self._left and self._due(self._left[0].created, now):
            found.append(self._submit(self._left.popleft()))
        return found

    def _withdrawals(self) -> list[Coroutine[Any, Any, None]]:
        now = time.time()
        return [self._withdraw(c) for c in self.lifecycles.to_withdraw() if self._due(c.pod.deleted or 0, now)]

    def _due(self, moment: int, now: float) -> bool:
        """Whether a moment of the trace has come."""
        return self._plan.speed is None or now >= self._started + moment / self._plan.speed

    async def _submit(self, pod: Pod) -> None:
        document = workload_of(pod, self._plan.capacity)
        self.lifecycles.submitted(id_of(pod), pod, time.time())
        await self._publish_with_retries(lambda: self._publisher.publish(WorkloadSubmitted, pod.name, document))

    async def _withdraw(self, lifecycle: Lifecycle) -> None:
        lifecycle.withdrawn = True
        withdrawal = withdrawal_of(lifecycle.pod)
        await self._publish_with_retries(
            lambda: self._publisher.publish(WorkloadWithdrawn, lifecycle.pod.name, withdrawal)
        )

    async def _publish_with_retries(self, publish: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Posts again what the broker did not take; the event's id makes that harmless."""
        for attempt in range(_TRIES):
            try:
                return await publish()
            except (NotAccepted, aiohttp.ClientError, OSError):
                if attempt == _TRIES - 1:
                    raise
                await asyncio.sleep(_POLL_SECONDS * 2**attempt)
        raise AssertionError("the loop returns or raises")
