"""Many plans that wait for the GPUs of one team: a release, a tick and a decision, beside a queue of one plan.

A release takes from the event of verification to the approval of the plan that goes next: a look through the queue,
and a decision with its commit. The decision is on a new plan that competes with all that wait, and does not fit.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from rich.table import Table

from knative.local.runtime.postgres import EmbeddedPostgres
from shared.eventing.processing import HttpAnswer
from shared.models.cluster import Cluster
from shared.operations.bindings import allow_all
from shared.store.database import connect
from shared.store.migrate import upgrade
from shared.store.unit_of_work import Store
from tests.support.builders import APPROVED, POLICY, TESTS, Deliver, told
from tests.support.queueing import RECONSIDERED, RELEASED, TICK, approved, free, gpus, policy, queued, submit, workload

WAITING = (1, 400, 10_000)
ROUNDS = 7
LIMIT = 200.0
"""Milliseconds of a release, promised for the longest queue."""

# A copy's ids follow from its number; the first plan that waits keeps its own.
_COPY = """
    CREATE FUNCTION pg_temp.copied(id uuid, n int) RETURNS uuid LANGUAGE sql IMMUTABLE
        AS $$ SELECT md5(id::text || n)::uuid $$;
    CREATE TEMPORARY TABLE w AS SELECT workloads.*, n FROM workloads, generate_series(2, :count) AS n
                                 WHERE phase = 'queued';
    UPDATE w SET id = pg_temp.copied(id, n), plan_id = pg_temp.copied(plan_id, n), name = name || '-' || n,
                 spec = jsonb_set(spec, '{name}', to_jsonb(name || '-' || n));
    CREATE TEMPORARY TABLE p AS SELECT action_plans.*, n FROM action_plans, generate_series(2, :count) AS n
                                 WHERE status = 'queued';
    UPDATE p SET id = pg_temp.copied(id, n), workload_id = pg_temp.copied(workload_id, n),
                 queued_at = queued_at + n * interval '1 microsecond';
    ALTER TABLE w DROP COLUMN n;
    ALTER TABLE p DROP COLUMN n;
    INSERT INTO workloads SELECT * FROM w;
    INSERT INTO action_plans SELECT * FROM p
"""


@dataclass(frozen=True)
class Row:
    """Medians in milliseconds, with that many plans in the queue."""

    waiting: int
    release: float
    tick: float
    decision: float


def measure(said: Callable[[str], None], waiting: tuple[int, ...] = WAITING, rounds: int = ROUNDS) -> list[Row]:
    """A row for each length of the queue."""
    return [_row(said, count, rounds) for count in waiting]


def table(rows: list[Row]) -> Table:
    """The rows as people read them."""
    shown = Table(title="A queue for the GPUs of one team, ms (median)", title_justify="left")
    for column in ("waiting", "release -> decided", "promised", "tick", "decision that queues"):
        shown.add_column(column, justify="right")
    for row in rows:
        shown.add_row(
            f"{row.waiting:,}", f"{row.release:.1f}", f"<= {LIMIT:.0f}", f"{row.tick:.1f}", f"{row.decision:.1f}"
        )
    return shown


def _row(said: Callable[[str], None], count: int, rounds: int) -> Row:
    said(f"a queue of {count:,} plans")
    with _database(count, rounds) as url:
        store = Store(connect(url))
        deliver = Deliver(store)
        deliver(POLICY, TICK, {})  # the policies are compiled
        releases = [_timed(partial(_release, deliver, f"holds-{n}")) for n in range(rounds)]
        ticks = [_timed(partial(deliver, POLICY, TICK, {})) for _ in range(rounds)]
        proposed = [deliver.submit(f"new-{n}", replicas=1, queue=True) for n in range(rounds)]
        decisions = [_timed(partial(_queue, deliver, one)) for one in proposed]
        store.close()
    return Row(count, *(statistics.median(times) for times in (releases, ticks, decisions)))


@contextmanager
def _database(count: int, rounds: int) -> Iterator[str]:
    """The URL of a durable database in which so many plans of one GPU wait, and as many GPUs are held as are needed."""
    with tempfile.TemporaryDirectory(prefix="sentinel-bench-") as name, EmbeddedPostgres(Path(name)) as server:
        upgrade(server.owner_url)
        store = Store(connect(server.url))
        with store.begin() as work:
            work.catalogue.register_cluster(Cluster("local"))
            allow_all(work, TESTS)
        policy(store, gpus(rounds))
        deliver = Deliver(store)
        for number in range(rounds):
            approved(submit(deliver, f"holds-{number}", 1))
        queued(submit(deliver, "waits", 1))
        store.close()
        engine = connect(server.owner_url)
        with engine.begin() as connection:
            for statement in _COPY.split(";\n"):
                connection.execute(sa.text(statement), {"count": count + rounds} if ":count" in statement else {})
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(sa.text("VACUUM ANALYZE"))
        engine.dispose()
        yield server.url


def _release(deliver: Deliver, name: str) -> None:
    """Releases what a workload holds, and has the plan that goes next decided."""
    free(deliver.store, name)
    released = {"team/search gpus": 1, "team/search gpus[L4]": 1, "cluster/local gpus": 1}
    found = deliver(POLICY, RELEASED, {"workload": str(workload(deliver.store, name).id), "released": released})
    assert told(found).type == RECONSIDERED
    decided: HttpAnswer = deliver.forward(POLICY, found)
    assert told(decided).type == APPROVED


def _queue(deliver: Deliver, proposed: HttpAnswer) -> None:
    queued(deliver.forward(POLICY, proposed))


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)
