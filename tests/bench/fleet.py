"""A database that holds many running workloads, copied from one by PostgreSQL, and what a process uses with it."""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from knative.local.runtime.postgres import EmbeddedPostgres
from shared.models.cluster import Cluster
from shared.operations.bindings import allow_all
from shared.store.database import connect
from shared.store.migrate import upgrade
from shared.store.unit_of_work import Store
from tests.functions.policy_evaluation.test_handler import runs
from tests.support.builders import TESTS, Deliver

WORKLOADS = 100_000

# A copy's ids follow from its number; the first workload keeps its own.
_COPY = """
    CREATE FUNCTION pg_temp.copied(id uuid, n int) RETURNS uuid LANGUAGE sql IMMUTABLE
        AS $$ SELECT md5(id::text || n)::uuid $$;
    CREATE FUNCTION pg_temp.copied_text(value text, w uuid, p uuid, n int) RETURNS text LANGUAGE sql IMMUTABLE
        AS $$ SELECT replace(replace(replace(value, w::text, pg_temp.copied(w, n)::text),
                                     p::text, pg_temp.copied(p, n)::text), '"web"', '"web-' || n || '"') $$;
    INSERT INTO workloads (id, team, namespace, name, generation, spec, usd_per_replica_hour, phase, cluster, plan_id,
                           revision)
    SELECT pg_temp.copied(id, n), team, namespace, name || '-' || n, generation,
           pg_temp.copied_text(spec::text, id, plan_id, n)::jsonb, usd_per_replica_hour, phase, cluster,
           pg_temp.copied(plan_id, n), revision
      FROM workloads, generate_series(2, :count) AS n;
    INSERT INTO action_plans (id, workload_id, generation, source, decision, sku, amounts, surge, status)
    SELECT pg_temp.copied(id, n), pg_temp.copied(workload_id, n), generation, source, decision, sku, amounts, surge,
           status
      FROM action_plans, generate_series(2, :count) AS n;
    INSERT INTO deployments (id, workload_id, revision, generation, plan_id, cluster, kind, namespace, name, uid,
                             manifest, sku, amounts, status, applied_at, ready_since, healthy_at, observed_at)
    SELECT pg_temp.copied(id, n), pg_temp.copied(workload_id, n), revision, generation, pg_temp.copied(plan_id, n),
           cluster, kind, namespace, name || '-' || n, pg_temp.copied(id, n)::text,
           pg_temp.copied_text(manifest::text, workload_id, plan_id, n)::jsonb, sku, amounts, status, now(), now(),
           now(), now()
      FROM deployments, generate_series(2, :count) AS n;
    INSERT INTO reservations (workload_id, cluster, sku, team, plan_id, state, replicas, cpu, memory, gpus,
                              usd_per_hour)
    SELECT pg_temp.copied(workload_id, n), cluster, sku, team, pg_temp.copied(plan_id, n), state, replicas, cpu, memory,
           gpus, usd_per_hour
      FROM reservations, generate_series(2, :count) AS n;
    UPDATE usage SET replicas = replicas * :count, cpu = cpu * :count, memory = memory * :count, gpus = gpus * :count,
                     usd_per_hour = usd_per_hour * :count
"""


@dataclass(frozen=True)
class Used:
    """What a piece of work took: seconds, and by how much it raised the process's resident memory at its peak."""

    seconds: float
    mebibytes: float
    result: Any


@contextmanager
def database(count: int) -> Iterator[str]:
    """The URL of such a database."""
    with server(count) as found:
        yield found.url


@contextmanager
def server(count: int) -> Iterator[EmbeddedPostgres]:
    """A durable database with `count` healthy workloads of one replica each on the cluster `local`."""
    with tempfile.TemporaryDirectory(prefix="sentinel-bench-") as name, EmbeddedPostgres(Path(name)) as found:
        upgrade(found.owner_url)
        store = Store(connect(found.url))
        with store.begin() as work:
            work.catalogue.register_cluster(Cluster("local"))
            allow_all(work, TESTS)
        deliver = Deliver(store)
        deliver.decide("web", replicas=1)
        runs(store, "web")
        store.close()
        change(found.owner_url, _COPY, count)
        yield found


def change(owner_url: str, statements: str, count: int) -> None:
    """Runs statements, of which some have the parameter `count`, and has PostgreSQL look at what they have left."""
    engine = connect(owner_url)
    with engine.begin() as connection:
        for statement in statements.split(";\n"):
            connection.execute(sa.text(statement), {"count": count} if ":count" in statement else {})
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))
    engine.dispose()


def used(work: Callable[..., Any], *arguments: Any) -> Used:
    """Runs `work` in a process of its own, whose memory is its alone."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(theirs, work, arguments), daemon=True)
    process.start()
    theirs.close()
    found: Used = ours.recv()
    process.join()
    return found


def _measured(result: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    before = _peak()
    started = time.perf_counter()
    found = work(*arguments)
    result.send(Used(time.perf_counter() - started, _peak() - before, found))


def _peak() -> float:
    """The process's peak of resident memory, in MiB. Linux counts that of the parent in `ru_maxrss`, and not here."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
