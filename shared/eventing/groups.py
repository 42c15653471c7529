"""Group commit: what waits while a group is handled is the next group, so that many share one transaction.

An item that comes alone is handled alone, at once. A group that fails as a whole is handled again item by item, so that
none fails for another. A group that takes long no longer holds up the next. Two at once would be half as large, and
cost a quarter more CPU.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

PATIENCE_SECONDS = 0.5
"""How long a group keeps the next one waiting."""

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger("sentinel.groups")


@dataclass(frozen=True)
class _Waiting(Generic[T, R]):
    item: T
    result: asyncio.Future[R]


class Groups(Generic[T, R]):
    """Hands items to threads of `executor`, in groups; it belongs to one event loop.

    alone: handles one item. together: handles several, and returns the result of each, in their order. size: of an
    item; a group has at most `most` of it, or one item.
    """

    def __init__(
        self,
        executor: Executor,
        alone: Callable[[T], R],
        together: Callable[[Sequence[T]], Sequence[R]],
        *,
        size: Callable[[T], int],
        most: int,
    ) -> None:
        self._executor, self._alone, self._together = executor, alone, together
        self._size, self._most = size, most
        self._waiting: deque[_Waiting[T, R]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy = False

    async def handle(self, item: T) -> R:
        """The result of an item. Raises what `alone` raises."""
        result: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(item, result))
        self._start()
        return await result

    def _start(self) -> None:
        if self._waiting and not self._busy:
            self._busy = True
            self._spawn(self._handle(self._next()))

    def _next(self) -> list[_Waiting[T, R]]:
        group: list[_Waiting[T, R]] = []
        room = self._most
        while self._waiting and (not group or self._size(self._waiting[0].item) <= room):
            group.append(self._waiting.popleft())
            room -= self._size(group[-1].item)
        return group

    async def _handle(self, group: Sequence[_Waiting[T, R]]) -> None:
        handling = self._begin(group)
        await asyncio.wait([handling], timeout=PATIENCE_SECONDS)
        self._busy = False
        self._start()
        await self._finish(group, handling)

    def _begin(self, group: Sequence[_Waiting[T, R]]) -> asyncio.Future[Sequence[R]]:
        return asyncio.get_running_loop().run_in_executor(self._executor, self._results, [one.item for one in group])

    def _results(self, items: Sequence[T]) -> Sequence[R]:
        return self._together(items) if len(items) > 1 else [self._alone(items[0])]

    async def _finish(self, group: Sequence[_Waiting[T, R]], handling: asyncio.Future[Sequence[R]]) -> None:
        await asyncio.wait([handling])
        error = handling.exception()
        if error is None:
            for one, result in zip(group, handling.result(), strict=True):
                if not one.result.done():  # a request that was given up waits for nothing
                    one.result.set_result(result)
        elif len(group) > 1:
            logger.info("%d events are handled one by one: %s: %s", len(group), type(error).__name__, error)
            for one in group:
                self._spawn(self._finish([one], self._begin([one])))
        elif not group[0].result.done():
            group[0].result.set_exception(error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself keeps none alive
        task.add_done_callback(self._tasks.discard)
