"""How functions are composed: all parts of one share a store, which opens no more connections than it may."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from events import CATALOGUE
from functions import serve
from shared.identity import keys
from tests.support.builders import APPROVED, SUBMITTED, request
from tests.support.serving import Served, served

POOL = 2
REQUESTS = 4 * POOL
TICK = "dev.knative.sources.ping"
EVENTS = {
    "workload_intake": SUBMITTED,
    "deployment_execution": APPROVED,
    "event_relay": "dev.sentinel.relay.continued.v1",
    "telemetry_ingestion": "dev.sentinel.telemetry.workload.v1",
    "dead_letter": SUBMITTED,
}
"""What functions are sent that do not take the tick, or that do little on it."""

_CONNECTIONS = sa.text("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'")


@contextmanager
def locked(connection: sa.Connection, *tables: str) -> Iterator[None]:
    """Nobody else reads or writes these tables until the block ends."""
    connection.execute(sa.text(f"LOCK TABLE {', '.join(tables)}"))
    yield
    connection.rollback()


def one_request(name: str, function: Served, number: int) -> int:
    if name == "api":
        body = b'{"name": "nobody", "password": "no password"}'
        return function.request("POST", "/api/v1/auth/login", {"content-type": "application/json"}, body)[0]
    type_name = EVENTS.get(name, TICK)
    headers, body = request(type_name, dict(CATALOGUE[type_name].example), event_id=f"{name}-{number}")
    return function.request("POST", "/", headers, body)[0]


def settled(count: Callable[[], int]) -> int:
    """A count that has not changed for half a second, or what it is after ten seconds."""
    last, since, end = count(), time.monotonic(), time.monotonic() + 20
    while time.monotonic() < min(since + 0.5, end) or (last == 0 and time.monotonic() < end):
        time.sleep(0.05)
        if (now := count()) != last:
            last, since = now, time.monotonic()
    return last


@pytest.mark.slow
@pytest.mark.parametrize("name", serve.names())
def test_a_function_opens_no_more_connections_than_its_pool_may_have(
    name: str, tmp_path: Path, database_url: str, owner_engine: sa.Engine
) -> None:
    """More requests than that wait at each point: for the inbox first, then for everything else."""
    settings = {"DATABASE_URL": database_url, "DATABASE_POOL_SIZE": str(POOL), "CLUSTERS_DIR": str(tmp_path)}
    keys.init(tmp_path / "keys")
    settings["SIGNING_KEYS_DIR"] = str(tmp_path / "keys")
    with (
        owner_engine.connect() as looking,
        owner_engine.connect() as outer,
        owner_engine.connect() as inner,
        served([name], tmp_path, K_SINK="http://127.0.0.1:9/", **settings) as function,
        ThreadPoolExecutor(REQUESTS) as callers,
    ):
        looking.execution_options(isolation_level="AUTOCOMMIT")
        before = set(looking.execute(_CONNECTIONS).scalars())

        def opened() -> int:
            return len(set(looking.execute(_CONNECTIONS).scalars()) - before)

        with locked(outer, "outbox", "workloads", "action_plans", "deployments", "dead_letters", "login_attempts"):
            with locked(inner, "inbox"):
                answers = [callers.submit(one_request, name, function, number) for number in range(REQUESTS)]
                at_the_inbox = settled(opened)
            behind_it = settled(opened)
        statuses = {answer.result() for answer in answers}
    if name == "telemetry_ingestion":  # events that wait together share a transaction
        assert 1 <= max(at_the_inbox, behind_it) <= POOL
    else:
        assert (at_the_inbox, behind_it) == (POOL, POOL)
    assert statuses <= {200, 202, 401, 422, 429}
