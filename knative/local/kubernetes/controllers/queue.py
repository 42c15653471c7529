"""The work queue of the controllers.

Keys are processed by level, the lowest first: pods before ReplicaSets before Deployments. So an owner is reconciled
after everything below it, and writes one status where it would have written five. A key that is queued twice is
processed once. Work is done in slices of a few milliseconds, and the event loop serves requests between them.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from knative.local.kubernetes.objects import Key

_SLICE = 0.005


@dataclass(frozen=True, eq=False)
class Controller:
    """`reconcile` gets the key of an object that may be gone."""

    name: str
    level: int
    reconcile: Callable[[Key], None]


class WorkQueue:
    def __init__(self) -> None:
        self._levels: list[dict[tuple[Controller, Key], None]] = [{} for _ in range(8)]
        self._timers: dict[tuple[Controller, Key], asyncio.TimerHandle] = {}
        self._scheduled = False
        self._started = False

    def add(self, controller: Controller, key: Key) -> None:
        self._levels[controller.level][controller, key] = None
        self._wake()

    def add_after(self, controller: Controller, key: Key, seconds: float) -> None:
        """Queues the key after a delay; an earlier timer of the same key is kept."""
        loop = asyncio.get_running_loop()
        item = (controller, key)
        due = loop.time() + max(seconds, 0)
        known = self._timers.get(item)
        if known is not None:
            if known.when() <= due:
                return
            known.cancel()
        self._timers[item] = loop.call_at(due, self._due, item)

    def _due(self, item: tuple[Controller, Key]) -> None:
        del self._timers[item]
        self.add(*item)

    def start(self) -> None:
        self._started = True
        self._wake()

    def stop(self) -> None:
        self._started = False
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _wake(self) -> None:
        if self._started and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        """One slice; asks for the next one when there is more, also after a failure: one key must not stop the rest."""
        self._scheduled = False
        end = time.monotonic() + _SLICE
        try:
            while self._started and time.monotonic() <= end:
                level = next((level for level in self._levels if level), None)
                if level is None:
                    return
                item = next(iter(level))
                del level[item]
                item[0].reconcile(item[1])
        finally:
            if any(self._levels):
                self._wake()
