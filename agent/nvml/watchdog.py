"""Calls that may never return, on a thread of their own.

A driver that hangs keeps the thread that called it inside the kernel, where nothing ends it: no exception reaches it,
and SIGKILL waits for the driver as well. A child process would be stuck in the same way, and would cost the memory of
a second interpreter. So there is one thread, and never a second one: while it is stuck, every run is overdue at once.
When the driver answers again, the thread drops the result that nobody waits for, and takes the next call. A driver
that never answers keeps the thread until the process ends; it is a daemon thread, so that it does not hold up the end.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Overdue(Exception):
    """The call has not returned within its time, or an earlier one has not returned yet."""


class _Job:
    """One call. pending: locked until the call has ended; then there is a result, or an error."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call
        self.pending = threading.Lock()
        self.pending.acquire()
        self.result: Any = None
        self.error: BaseException | None = None


class Watchdog:
    """Runs one call at a time on its thread; for one caller."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._last: _Job | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, call: Callable[[], T], seconds: float) -> T:
        """What the call returns or raises. Raises Overdue after this time."""
        if self._last is not None and self._last.pending.locked():
            raise Overdue
        self._last = job = _Job(call)
        self._jobs.put(job)
        if not job.pending.acquire(timeout=seconds):
            raise Overdue
        job.pending.release()
        self._last = None
        try:
            if job.error is not None:
                raise job.error
            result: T = job.result
            return result
        finally:
            del job  # the error holds this frame

    def stop(self) -> None:
        """Ends the thread, now or when its call has returned."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job.result = job.call()
            except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
                job.error = error
            job.pending.release()
            del job  # what it holds is not kept until the next call
