"""A search for idle GPUs among 10,000 beside one among 1,000, from minutes and from hours.

In both databases 3 of 10 GPUs are idle, 6 are busy and one is given to nobody. Partitions hold twice the rollups that
the longest window is read from.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rich.table import Table
from sqlalchemy import Double

from knative.local.runtime.postgres import EmbeddedPostgres
from shared.models.idle import IdleRules
from shared.store.database import connect
from shared.store.migrate import upgrade
from shared.store.telemetry_tables import gpu_minutes
from shared.store.unit_of_work import Store
from tests.bench import fleet

SIZES = (1_000, 10_000)
WINDOWS = {"1h, of minutes": timedelta(hours=1), "6h, of hours": timedelta(hours=6), "24h, of hours": timedelta(days=1)}
ROUNDS = 9
LIMIT = 2.5
"""How much a GPU of many may cost beside one of few, all of whose rollups are in PostgreSQL's own 128 MiB."""

_KEPT = {"gpu_minutes": ("minute", 120), "gpu_hours": ("hour", 48)}
_OTHERS = [
    column.name
    for column in gpu_minutes.columns
    if isinstance(column.type, Double) and not column.name.startswith("utilization_percent")
]
_HOLDERS = """
    INSERT INTO workloads (id, team, namespace, name, generation, spec, usd_per_replica_hour, phase, cluster, plan_id,
                           revision)
    SELECT CAST(md5('w' || n) AS uuid), 'team-' || n % 50, 'many', 'w-' || n, 1, '{}', 1, 'healthy', 'local',
           gen_random_uuid(), 1
      FROM generate_series(0, :count / 8 - 1) AS n;
    INSERT INTO reservations (workload_id, cluster, sku, team, plan_id, state, replicas, cpu, memory, gpus,
                              usd_per_hour)
    SELECT id, cluster, 'H100', team, plan_id, 'committed', 8, 1, 1, 8, 24 FROM workloads
"""
_ROLLUPS = f"""
    SELECT make_partition('{{table}}', starts_at)
      FROM generate_series(now() - {{units}} * interval '1 {{unit}}', now(), interval '1 {{unit}}') AS starts_at;
    INSERT INTO {{table}} (cluster, node, gpu, starts_at, samples, allocated_samples, workload_id, product,
                           utilization_percent_mean, utilization_percent_max, {", ".join(_OTHERS)})
    SELECT 'local', 'gpu-node-' || n / 8, 'GPU-' || CAST(md5(CAST(n AS text)) AS uuid), starts_at, 6,
           CASE WHEN n % 10 < 9 THEN 6 ELSE 0 END, CASE WHEN n % 10 < 9 THEN CAST(md5('w' || n / 8) AS uuid) END,
           'NVIDIA H100 80GB HBM3', 1, CASE WHEN n % 10 < 3 THEN 4 ELSE 10 + random() * 90 END,
           {", ".join(["1"] * len(_OTHERS))}
      FROM generate_series(date_trunc('{{unit}}', now()) - ({{units}} - 1) * interval '1 {{unit}}',
                           date_trunc('{{unit}}', now()), interval '1 {{unit}}') AS starts_at,
           generate_series(0, :count - 1) AS n
"""


@dataclass(frozen=True)
class IdleSearch:
    """The median seconds of a search over a window, for each of SIZES."""

    window: str
    seconds: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """What a GPU costs among many, beside a GPU among few."""
        few, many = (seconds / gpus for seconds, gpus in zip(self.seconds, SIZES, strict=True))
        return many / few


def measure(said: Callable[[str], None]) -> list[IdleSearch]:
    """Asks the two databases in turns."""
    with ExitStack() as stack:
        stores = []
        for gpus in SIZES:
            said(f"idle GPUs: a database with {gpus:,} GPUs")
            stores.append(stack.enter_context(_database(gpus)))
        return [_search(name, window, stores) for name, window in WINDOWS.items()]


def table(searches: Sequence[IdleSearch]) -> Table:
    """The searches as people read them."""
    few, many = (f"{gpus:,}" for gpus in SIZES)
    shown = Table(title=f"Idle GPUs are looked for (median of {ROUNDS}, in turns)", title_justify="left")
    for column in ("window", f"ms of {few} GPUs", f"ms of {many} GPUs", "ratio of a GPU", "promised"):
        shown.add_column(column, justify="left" if column == "window" else "right")
    for one in searches:
        first, last = (f"{seconds * 1000:.0f}" for seconds in one.seconds)
        shown.add_row(one.window, first, last, f"{one.ratio:.2f}", f"<= {LIMIT}")
    return shown


def _search(name: str, window: timedelta, stores: Sequence[Store]) -> IdleSearch:
    seconds: list[list[float]] = [[] for _ in stores]
    for _ in range(ROUNDS):
        for store, gpus, found in zip(stores, SIZES, seconds, strict=True):
            found.append(_timed(store, IdleRules(window), gpus * 3 // 10))
    return IdleSearch(name, tuple(map(statistics.median, seconds)))


def _timed(store: Store, rules: IdleRules, expected: int) -> float:
    with store.begin() as work:
        started = time.perf_counter()
        found = len(work.idle.gpus(rules, work.now))
        seconds = time.perf_counter() - started
    if found != expected:
        raise AssertionError(f"{found} GPUs are idle, not {expected}")
    return seconds


@contextmanager
def _database(gpus: int) -> Iterator[Store]:
    """A durable database with the rollups of so many GPUs, up to now."""
    with tempfile.TemporaryDirectory(prefix="sentinel-bench-") as name, EmbeddedPostgres(Path(name)) as server:
        upgrade(server.owner_url)
        rollups = (_ROLLUPS.format(table=one, unit=unit, units=units) for one, (unit, units) in _KEPT.items())
        fleet.change(server.owner_url, ";\n".join((_HOLDERS, *rollups)), gpus)
        store = Store(connect(server.url))
        yield store
        store.close()
