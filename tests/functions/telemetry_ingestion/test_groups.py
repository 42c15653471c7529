"""Events that are handled in one transaction: as if each had come alone, and stored all or none."""

from __future__ import annotations

import json
import random
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from events import CATALOGUE
from shared.errors import StoreContended
from shared.eventing.processing import EventRequest, HttpAnswer, Processor
from shared.models.telemetry import READINGS_A_MINUTE
from shared.store.database import connect
from shared.store.unit_of_work import Store
from tests.functions.telemetry_ingestion.conftest import GPU, INGESTION, TICK, WORKLOAD, Telemetry, gpu
from tests.support.builders import connection_of, in_parallel, request
from tests.support.crashes import Crashes, Fate


def together(store: Store, requests: Sequence[EventRequest]) -> list[HttpAnswer]:
    """Handles these in one transaction."""
    assert INGESTION.group_commit is not None
    return Processor(INGESTION, store, CATALOGUE, "/sentinel/ingestion").process_together(
        requests, INGESTION.group_commit
    )


def sample(telemetry: Telemetry, node: str, ago: float = 0, *gpus: dict[str, Any], **how: Any) -> EventRequest:
    """A sample of a node, taken so many seconds ago."""
    at = telemetry.now - timedelta(seconds=ago)
    data = {"cluster": "local", "node": node, "observedAt": at.isoformat(), "gpus": gpus or [gpu(0), gpu(1)]}
    return request(GPU, data, **{"source": f"/sentinel/agents/local/{node}", "subject": node, **how})


def stored(telemetry: Telemetry) -> Counter[str]:
    """Rows of each node."""
    return Counter(row["node"] for row in telemetry.rows("gpu_samples"))


@pytest.fixture
def watched(database_url: str) -> Iterator[tuple[Store, list[str], Crashes]]:
    """A store of one connection, the statements that it is sent, and how to break it."""
    engine = connect(database_url, pool_size=1)
    statements: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2].split()[0]))
    crashes = Crashes(engine, database_url)
    yield Store(engine), statements, crashes
    crashes.close()
    engine.dispose()


def test_a_group_takes_as_many_statements_as_one_event(
    telemetry: Telemetry, watched: tuple[Store, list[str], Crashes]
) -> None:
    store, statements, _ = watched
    for ago in (10, 5):
        statements.clear()
        answers = together(store, [sample(telemetry, f"node-{number}", ago) for number in range(30)])
        assert {answer.status for answer in answers} == {202}
    assert statements == ["SET", "INSERT", "COPY"]
    assert stored(telemetry) == {f"node-{number}": 4 for number in range(30)}


def test_bad_events_are_refused_and_the_others_are_stored(telemetry: Telemetry) -> None:
    twice = b'{"cluster":"local","cluster":"local"}'
    workload = uuid.uuid4()
    report = {"workload": str(workload), "samples": [{"observedAt": telemetry.now.isoformat(), "metrics": {"up": 1.0}}]}
    hidden = {"specversion": "1.0", "id": "1", "source": "/test", "type": TICK, "data": {}}
    structured = {"ce-type": GPU, "content-type": "application/cloudevents+json", "prefer": "reply"}
    requests = [
        sample(telemetry, "good-0"),
        sample(telemetry, "bad", 0, gpu(0, metrics={"utilization_percent": 101})),
        sample(telemetry, "bad", source="/sentinel/agents/local/good-0"),
        sample(telemetry, "bad", subject="other"),
        (sample(telemetry, "bad")[0], twice),
        ({"ce-type": GPU, "content-type": "application/json"}, b"{}"),
        (structured, json.dumps(hidden).encode()),
        request(WORKLOAD, report, subject=str(workload)),
        sample(telemetry, "good-1"),
    ]
    assert [answer.status for answer in together(telemetry.store, requests)] == [
        *(202, 422, 422, 422, 400, 400),
        *(202, 202, 202),
    ]
    assert stored(telemetry) == {"good-0": 2, "good-1": 2}
    assert [row["workload_id"] for row in telemetry.rows("workload_samples")] == [workload]


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_a_group_stores_what_its_events_would_have_one_by_one(telemetry: Telemetry, seed: int) -> None:
    """In whatever order, with duplicates, late and future ones, GPUs that come later, and a node that floods."""
    start = telemetry.minute(5)
    ago = (telemetry.now - start).total_seconds()
    events = [sample(telemetry, f"node-{node}", ago - 15 * number) for node in range(4) for number in range(4)]
    events += [sample(telemetry, "node-0", ago, gpu(0), gpu(1), gpu(2)), sample(telemetry, "late", 86_400 * 4)]
    events += [sample(telemetry, "early", -600), sample(telemetry, "node-3", ago)]
    events += [sample(telemetry, "flood", ago - number / 2, gpu(0)) for number in range(READINGS_A_MINUTE + 5)]
    events += random.Random(seed).sample(events, 10)
    random.Random(seed).shuffle(events)
    for begin in range(0, len(events), 20):
        assert {answer.status for answer in together(telemetry.store, events[begin : begin + 20])} == {202}
    node_rows = {f"node-{number}": 8 for number in range(4)}
    assert stored(telemetry) == {**node_rows, "node-0": 9, "flood": READINGS_A_MINUTE}
    assert telemetry.dropped().keys() == {
        ("gpu", "local/late", "late"),
        ("gpu", "local/early", "future"),
        ("gpu", "local/flood", "flood"),
    }


def test_a_database_that_goes_away_at_any_statement_leaves_nothing_half_stored(
    telemetry: Telemetry, watched: tuple[Store, list[str], Crashes]
) -> None:
    """What was accepted is told 503, all of it, and is stored once when it comes again."""
    store, _, crashes = watched
    requests = [sample(telemetry, f"node-{number}") for number in range(5)]
    poison = sample(telemetry, "bad", 0, gpu(0, index=-1), reply=False)
    together(store, requests[:1])  # the partition is there, and the connection
    for statement in (1, 2, 3, 4):  # SET, INSERT, COPY and the commit
        crashes.arm(Fate.BACKEND, statement)
        answers = together(store, [*requests[1:], poison])
        crashes.disarm()
        assert [answer.status for answer in answers] == [503] * 4 + [422]
        assert stored(telemetry) == {"node-0": 2}
        assert len(telemetry.rows("agents", "1, 2")) == 1
    assert {answer.status for answer in together(store, requests)} == {202}
    assert stored(telemetry) == {f"node-{number}": 2 for number in range(5)}


def test_a_node_whose_row_is_locked_for_long_fails_the_group_soon_and_not_as_an_outage(telemetry: Telemetry) -> None:
    """So its caller handles the events one by one, and only that of the node waits."""
    telemetry.send(gpu(0), node="hung")
    requests = [sample(telemetry, node) for node in ("free", "hung")]
    with telemetry.store.begin() as work:
        connection_of(work).execute(sa.text("SELECT FROM agents WHERE node = 'hung' FOR UPDATE"))
        with pytest.raises(StoreContended):
            together(telemetry.store, requests)
        assert stored(telemetry) == {"hung": 1}
        assert telemetry.deliver.raw(INGESTION, *requests[0]).status == 202
    assert {answer.status for answer in together(telemetry.store, requests)} == {202}
    assert stored(telemetry) == {"hung": 2, "free": 2}


def test_groups_of_the_same_nodes_in_other_orders_do_not_block_each_other(telemetry: Telemetry) -> None:
    def group(seed: int) -> list[HttpAnswer]:
        requests = [sample(telemetry, f"node-{number}", seed) for number in range(20)]
        random.Random(seed).shuffle(requests)
        return together(telemetry.store, requests)

    answers = in_parallel(*(lambda seed=seed: group(seed) for seed in range(6)))
    assert {answer.status for group_ in answers for answer in group_} == {202}
    assert stored(telemetry) == {f"node-{number}": 12 for number in range(20)}
