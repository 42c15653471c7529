"""Calls that may never return, on a thread of their own.

A driver that hangs keeps the thread that called it inside the kernel, where nothing ends it: no exception reaches it,
and SIGKILL waits for the driver as well. A child process would be stuck in the same way, and would cost the memory of
a second interpreter. So there is one thread, and never a second one: while it is stuck, every run is overdue at once.
When the driver answers again, the thread drops the result that nobody waits for, and takes the next call. A driver
that never answers keeps the thread until the process ends; it is a daemon thread, so that it does not hold up the end.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Overdue(Exception):
    """The call has not returned within its time, or an earlier one has not returned yet."""


class Watchdog:
    """Runs one call at a time on its thread; for one caller."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._last: Future[Any] | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, call: Callable[[], T], seconds: float) -> T:
        """What the call returns or raises. Raises Overdue after this time."""
        if self._last is not None and not self._last.done():
            raise Overdue
        self._last = result = Future[T]()
        self._calls.put((result, call))
        try:
            return result.result(seconds)
        except TimeoutError:
            if result.done():  # in this very moment
                return result.result()
            raise Overdue from None

    def stop(self) -> None:
        """Ends the thread, now or when its call has returned."""
        self._calls.put(None)

    def _work(self) -> None:
        while (job := self._calls.get()) is not None:
            result, call = job
            try:
                result.set_result(call())
            except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
                result.set_exception(error)
            del job, result, call  # what they hold is not kept until the next call
