"""Samples that were acknowledged are stored, once, whatever was killed in the middle of a group."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from knative.local.runtime.postgres import EmbeddedPostgres
from shared.eventing.processing import EventRequest
from shared.store.database import connect
from tests.functions.telemetry_ingestion.conftest import GPU, gpu
from tests.support import databases
from tests.support.builders import request
from tests.support.serving import Served, served

pytestmark = pytest.mark.slow

SENDERS = 12


def samples(nodes: int, each: int) -> list[EventRequest]:
    now = datetime.now(UTC)
    found = []
    for number in range(nodes * each):
        node, at = f"node-{number % nodes}", now - timedelta(seconds=number // nodes)
        data = {"cluster": "local", "node": node, "observedAt": at.isoformat(), "gpus": [gpu(0), gpu(1)]}
        source = f"/sentinel/agents/local/{node}"
        found.append(request(GPU, data, event_id=f"{node}-{at}", source=source, subject=node))
    return found


def send(function: Served, requests: Sequence[EventRequest]) -> list[int]:
    """Posts all of them, many at once; the status of each answer, 0 for none."""

    def post(one: EventRequest) -> int:
        try:
            return function.request("POST", "/", *one)[0]
        except (OSError, http.client.HTTPException):
            return 0

    with ThreadPoolExecutor(SENDERS) as senders:
        return list(senders.map(post, requests))


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def stored(url: str) -> Counter[tuple[str, datetime]]:
    """Rows of each node and moment."""
    engine = connect(url, pool_size=1)
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT node, observed_at FROM gpu_samples")).all()
    engine.dispose()
    return Counter((row.node, row.observed_at) for row in rows)


def key_of(one: EventRequest) -> tuple[str, datetime]:
    data = json.loads(one[1])
    return data["node"], datetime.fromisoformat(data["observedAt"])


def backend_of_another(url: str) -> int:
    """The process of somebody's connection to this database."""
    engine = connect(url, pool_size=1)
    others = "backend_type = 'client backend' AND pid <> pg_backend_pid()"
    with engine.connect() as connection:
        pid = connection.execute(sa.text(f"SELECT max(pid) FROM pg_stat_activity WHERE {others}")).scalar_one()
    engine.dispose()
    return int(pid)


@pytest.fixture
def durable(migrated_data: Path, tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    databases.copy(migrated_data, tmp_path)
    with EmbeddedPostgres(tmp_path) as server:
        yield server


def test_a_function_that_is_killed_in_the_middle_of_a_group_stores_its_samples_once(
    database_url: str, owner_engine: sa.Engine, tmp_path: Path
) -> None:
    requests = samples(SENDERS, 1)
    waiting = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'COPY%'")
    with ThreadPoolExecutor(1) as sender, owner_engine.connect() as looking:
        with (
            owner_engine.connect() as locking,
            served(["telemetry_ingestion"], tmp_path, DATABASE_URL=database_url) as one,
        ):
            locking.execute(sa.text("LOCK TABLE gpu_samples"))
            sending = sender.submit(send, one, requests)
            looking.execution_options(isolation_level="AUTOCOMMIT")
            until(lambda: looking.execute(waiting).scalar_one() > 0)
            os.kill(one.pid, signal.SIGKILL)
            assert set(sending.result()) == {0}
        with served(["telemetry_ingestion"], tmp_path, DATABASE_URL=database_url) as other:
            assert set(send(other, [*requests, *requests])) == {202}
    assert set(stored(database_url).values()) == {2}
    assert len(stored(database_url)) == SENDERS


def test_what_is_acknowledged_survives_a_postgresql_that_is_killed(durable: EmbeddedPostgres, tmp_path: Path) -> None:
    """A backend that is killed takes the shared memory with it: all others end, and the log is replayed."""
    requests = samples(40, 15)
    with (
        ThreadPoolExecutor(1) as sender,
        served(["telemetry_ingestion"], tmp_path, DATABASE_URL=durable.url) as function,
    ):
        assert send(function, requests[:1]) == [202]
        sending = sender.submit(send, function, requests)
        until(lambda: len(stored(durable.url)) > 100)
        os.kill(backend_of_another(durable.url), signal.SIGKILL)
        statuses = sending.result()
        assert set(statuses) == {202, 503}
        until(lambda: send(function, requests[:1]) == [202])
        acknowledged = {key for key, status in zip(map(key_of, requests), statuses, strict=True) if status == 202}
        assert acknowledged <= stored(durable.url).keys()
        again = [one for one, status in zip(requests, statuses, strict=True) if status != 202]
        assert set(send(function, again)) == {202}
    found = stored(durable.url)
    assert (len(found), set(found.values())) == (len(requests), {2})
