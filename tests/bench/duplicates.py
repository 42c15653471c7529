"""A first delivery beside a duplicate, and beside one that writes no audit row, alternating (P5)."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.table import Table

from knative.local.runtime.postgres import EmbeddedPostgres
from shared.eventing.event import Envelope
from shared.models.cluster import Cluster
from shared.operations.bindings import allow_all
from shared.store.database import connect
from shared.store.migrate import upgrade
from shared.store.unit_of_work import Store, UnitOfWork
from tests.support.builders import INTAKE, SUBMITTED, TESTS, Deliver, request, submission

ROUNDS = 200
LIMIT = "P5 <= 0.5"
AUDIT_LIMIT = "P5 <= 1.15"
_WARM_UP = 10


@dataclass(frozen=True)
class Duplicates:
    """Medians in seconds of intake's answer."""

    first: float
    again: float
    unaudited: float


class _Unaudited(Store):
    """A store that writes no audit row."""

    @contextmanager
    def transaction(self, now: datetime | None, event: Envelope | None = None) -> Iterator[UnitOfWork]:
        with super().transaction(now, event) as work:
            yield work
            work._audits.clear()


def measure(said: Callable[[str], None]) -> Duplicates:
    """Each event is delivered twice in a row, onto a durable PostgreSQL."""
    said("duplicates beside first deliveries")
    first: list[float] = []
    again: list[float] = []
    unaudited: list[float] = []
    with tempfile.TemporaryDirectory(prefix="sentinel-bench-") as name, EmbeddedPostgres(Path(name)) as server:
        upgrade(server.owner_url)
        store = Store(connect(server.url, pool_size=1))
        with store.begin() as work:
            work.catalogue.register_cluster(Cluster("local"))
            allow_all(work, TESTS)
        deliver, without = Deliver(store), Deliver(_Unaudited(store._engine))
        for number in range(_WARM_UP + ROUNDS):
            for name, ways in (("w", ((deliver, first), (deliver, again))), ("u", ((without, unaudited),))):
                event = submission(f"{name}-{number}")
                headers, body = request(SUBMITTED, event, subject=None, event_id=f"{name}-{number}")
                for way, seconds in ways:
                    started = time.perf_counter()
                    answer = way.raw(INTAKE, headers, body)
                    seconds.append(time.perf_counter() - started)
                    if answer.status != 200:
                        raise AssertionError(f"intake answered {answer.status}: {answer.outcome}")
        store.close()
    return Duplicates(*(statistics.median(seconds[_WARM_UP:]) for seconds in (first, again, unaudited)))


def table(found: Duplicates) -> Table:
    """The medians as people read them."""
    shown = Table(title=f"P5: duplicates and audit rows (median of {ROUNDS})", title_justify="left")
    for column in ("delivery", "ms", "ratio", "promised"):
        shown.add_column(column, justify="left" if column == "delivery" else "right")
    shown.add_row("first", f"{found.first * 1000:.2f}", "1", "")
    shown.add_row("again", f"{found.again * 1000:.2f}", f"{found.again / found.first:.2f}", LIMIT)
    audited = f"{found.first / found.unaudited:.2f}"
    shown.add_row("first, without its audit row", f"{found.unaudited * 1000:.2f}", audited, AUDIT_LIMIT)
    return shown
