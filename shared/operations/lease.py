"""The leases of the executions in one process: renewed while their tasks last, and known to have ended.

A lease is short, so that what a killed process left is taken up soon. A task may take longer than its lease: an
admission webhook alone may take 30 s. For example, a task of 20 s has its lease of 15 s renewed every 3 to 6 s; one of
10 ms asks nothing more of the database.

The end of a lease is a moment of PostgreSQL's clock. The process counts seconds of its own from before each renewal,
and trusts fewer than the lease has. So no request to a cluster begins once another execution may have begun. One that
is under way then, or whose process was stopped in between, harms nothing: see shared.operations.execute.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.operations.apply import ClusterTask
    from shared.store.unit_of_work import UnitOfWork

logger = logging.getLogger("sentinel.lease")

LEASE = timedelta(seconds=15)
"""How long one execution keeps others away without a renewal; after this its plan is taken up again."""

RENEWAL_SECONDS = 3.0
TRUSTED_SECONDS = 10.0
"""How long after it was last renewed a process counts on a lease. The rest is for the commit that gave it."""


@dataclass(eq=False)
class HeldLease:
    """The lease of a task. renewed_at: on the process's own clock, in seconds."""

    task: ClusterTask
    renewed_at: float
    lost: bool = False

    def is_held(self) -> bool:
        """Whether no other execution can have begun."""
        return not self.lost and time.monotonic() - self.renewed_at < TRUSTED_SECONDS


class LeaseRenewal:
    """Renews the leases of tasks that last, from one thread, which ends when there are none.

    renew: prolongs the lease of a task in the database; False when that has ended, or another execution has its place.
    is_running: whether there is such a thread.
    """

    def __init__(self, renew: Callable[[ClusterTask], bool]) -> None:
        self._renew = renew
        self._leases: set[HeldLease] = set()
        self._lock = threading.Lock()
        self.is_running = False

    @contextmanager
    def keep(self, task: ClusterTask) -> Iterator[HeldLease]:
        """The lease of a task, which is renewed until the block ends."""
        lease = HeldLease(task, time.monotonic())
        with self._lock:
            self._leases.add(lease)
            if not self.is_running:
                self.is_running = True
                threading.Thread(target=self._run, name="lease-renewal", daemon=True).start()
        try:
            yield lease
        finally:
            with self._lock:
                self._leases.remove(lease)

    def _run(self) -> None:
        while True:
            time.sleep(RENEWAL_SECONDS)
            with self._lock:
                leases = list(self._leases)
                if not leases:
                    self.is_running = False
                    return
            for lease in leases:
                if not lease.lost and time.monotonic() - lease.renewed_at >= RENEWAL_SECONDS:
                    self._prolong(lease)

    def _prolong(self, lease: HeldLease) -> None:
        asked_at = time.monotonic()
        try:
            if self._renew(lease.task):
                lease.renewed_at = asked_at
            else:
                lease.lost = True
                logger.warning("the lease of plan %s has ended before its task", lease.task.plan.id)
        except StoreUnavailable as error:
            logger.warning("the lease of plan %s is not renewed: %s", lease.task.plan.id, error)
        except Exception:  # a defect, which must not end the renewal of all others
            logger.exception("the lease of plan %s is not renewed", lease.task.plan.id)


def renew(work: UnitOfWork, task: ClusterTask) -> bool:
    """Prolongs the lease of a task that lasts. False when it has ended, or another execution has taken its place."""
    return work.plans.renew(task.plan, LEASE)
