"""A delivery of an event that was handled before, beside the first delivery of one, alternating (P5)."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from knative.local.runtime.postgres import EmbeddedPostgres
from shared.models.cluster import Cluster
from shared.store.database import connect
from shared.store.migrate import upgrade
from shared.store.unit_of_work import Store
from tests.support.builders import INTAKE, SUBMITTED, Deliver, request, submission

ROUNDS = 200
LIMIT = "P5 <= 0.5"
_WARM_UP = 10


@dataclass(frozen=True)
class Duplicates:
    """Medians in seconds of intake's answer."""

    first: float
    again: float


def measure(said: Callable[[str], None]) -> Duplicates:
    """Each event is delivered twice in a row, onto a durable PostgreSQL."""
    said("duplicates beside first deliveries")
    first: list[float] = []
    again: list[float] = []
    with tempfile.TemporaryDirectory(prefix="sentinel-bench-") as name, EmbeddedPostgres(Path(name)) as server:
        upgrade(server.owner_url)
        store = Store(connect(server.url, pool_size=1))
        with store.begin() as work:
            work.catalogue.register_cluster(Cluster("local"))
        deliver = Deliver(store)
        for number in range(_WARM_UP + ROUNDS):
            headers, body = request(SUBMITTED, submission(f"w-{number}"), subject=None, event_id=f"e-{number}")
            for seconds in (first, again):
                started = time.perf_counter()
                answer = deliver.raw(INTAKE, headers, body)
                seconds.append(time.perf_counter() - started)
                if answer.status != 200:
                    raise AssertionError(f"intake answered {answer.status}: {answer.outcome}")
        store.close()
    return Duplicates(statistics.median(first[_WARM_UP:]), statistics.median(again[_WARM_UP:]))


def table(found: Duplicates) -> Table:
    """The medians as people read them."""
    shown = Table(title=f"P5: a duplicate beside a first delivery (median of {ROUNDS})", title_justify="left")
    for column in ("delivery", "ms", "ratio", "promised"):
        shown.add_column(column, justify="left" if column == "delivery" else "right")
    shown.add_row("first", f"{found.first * 1000:.2f}", "1", "")
    shown.add_row("again", f"{found.again * 1000:.2f}", f"{found.again / found.first:.2f}", LIMIT)
    return shown
