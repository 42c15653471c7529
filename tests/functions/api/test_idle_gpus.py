"""GPUs that are allocated and not used, over REST."""

import uuid
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from shared.models.amounts import Amounts
from shared.models.identity import Role
from shared.models.reservation import Reservation
from shared.store.unit_of_work import Store
from tests.support.builders import Deliver, connection_of, id_of
from tests.support.rest import Rest

_MAKE_PARTITION = """
    SELECT make_partition(:table, starts_at)
      FROM generate_series(now() - interval '1 day', now(), interval '1 hour') AS hours(starts_at)
"""
_ROLLUPS = """
    INSERT INTO {table} (cluster, node, gpu, starts_at, samples, allocated_samples, workload_id, product,
                         utilization_percent_mean, utilization_percent_max)
    SELECT 'local', 'gpu-1', :gpu, date_trunc('minute', now()) - number * CAST(:unit AS interval), 60,
           :allocated, :workload, 'NVIDIA L4', 1, CASE WHEN number = :busy_at THEN 90.0 ELSE 3.0 END
      FROM generate_series(2, CAST(:units AS int)) AS number
"""


def rollups(store: Store, gpu: str, name: str | None, table: str = "gpu_hours", **fields: Any) -> None:
    """What the rollups of a GPU say: used by 3 % at most, and a workload's, all the time."""
    unit, units = ("1 hour", 12) if table == "gpu_hours" else ("1 minute", 60)
    values = {"gpu": gpu, "unit": unit, "units": units, "allocated": 60, "busy_at": 0, "workload": name and id_of(name)}
    with store.begin() as work:
        connection = connection_of(work)
        connection.execute(sa.text(_MAKE_PARTITION), {"table": table})
        connection.execute(sa.text(_ROLLUPS.format(table=table)), values | fields)


@pytest.fixture
def held(store: Store, deliver: Deliver) -> Store:
    """Two teams hold GPUs: chat two L4s for 3 dollars an hour, and ads one."""
    for name, team, gpus, usd in (("chat", "search", 2, "3"), ("copy", "ads", 1, "1")):
        deliver.submit(name, team=team)
        lines = {"L4": Amounts(1, 1000, 2**30, gpus, Decimal(usd))}
        workload = id_of(name, team)
        with store.begin() as work:
            work.ledger.hold(Reservation(workload, "local", team, lines), uuid.uuid4(), work.now + timedelta(hours=1))
    return store


def test_gpus_that_a_workload_has_and_does_not_use_are_told_of_with_their_cost(rest: Rest, held: Store) -> None:
    rollups(held, "GPU-idle", "chat")
    rollups(held, "GPU-busy-once", "chat", busy_at=3)
    rollups(held, "GPU-unallocated", None)
    rollups(held, "GPU-partly-allocated", "chat", allocated=59)
    rollups(held, "GPU-new", "chat", units=4)
    found = rest("GET", "/gpus/idle").json
    [gpu] = found["items"]
    assert (gpu["gpu"], gpu["name"], gpu["highestUtilizationPercent"]) == ("GPU-idle", "search/search/chat", 3.0)
    assert (gpu["usdPerHour"], gpu["usd"]) == ("1.500000", "9.000000")
    assert (found["gpus"], found["usd"], found["window"], found["thresholdPercent"]) == (1, "9.000000", "PT6H", 5.0)
    assert rest("GET", "/gpus/idle?threshold=2").json["items"] == []
    assert [one["gpu"] for one in rest("GET", "/gpus/idle?threshold=95").json["items"]] == ["GPU-busy-once", "GPU-idle"]


def test_a_short_window_is_read_from_minutes(rest: Rest, held: Store) -> None:
    rollups(held, "GPU-idle", "chat", "gpu_minutes")
    assert [one["usd"] for one in rest("GET", "/gpus/idle?window=30m").json["items"]] == ["0.750000"]
    assert rest("GET", "/gpus/idle?window=2h").json["items"] == []


def test_everybody_sees_the_gpus_of_their_own_teams(rest: Rest, held: Store) -> None:
    rollups(held, "GPU-1", "chat")
    rollups(held, "GPU-2", None, workload=id_of("copy", "ads"))
    rest.bind("ada", Role.VIEWER, "ads")
    assert {one["team"] for one in rest("GET", "/gpus/idle").json["items"]} == {"search", "ads"}
    assert {one["team"] for one in rest("GET", "/gpus/idle", user="ada").json["items"]} == {"ads"}
    assert rest("GET", "/gpus/idle?team=search", user="ada").json["items"] == []
    limited = rest("GET", "/gpus/idle?limit=1").json
    assert (limited["items"][0]["team"], limited["gpus"], limited["usdPerHour"]) == ("search", 2, "2.500000")


@pytest.mark.parametrize("query", ["window=1s", "window=31d", "window=soon", "threshold=101", "threshold=nan"])
def test_a_question_that_makes_no_sense_is_refused(rest: Rest, query: str) -> None:
    assert rest("GET", f"/gpus/idle?{query}").status in (400, 422)
