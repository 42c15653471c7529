"""Error budgets that burn too fast are told of once when they begin to, and once when that is over."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from shared.policy.documents import PolicyDocument
from shared.store.tables import audit_log, outbox, slo_breaches, slo_checks
from tests.functions.telemetry_ingestion.conftest import Telemetry
from tests.support.builders import connection_of, id_of, in_parallel, set_columns

HOUR = timedelta(hours=1)
BREACHED = "dev.sentinel.slo.breached.v1"


def workload(telemetry: Telemetry, age: timedelta = 2 * HOUR, name: str = "web") -> uuid.UUID:
    """A workload of team search that has run for so long."""
    telemetry.deliver.decide(name)
    with telemetry.store.begin() as work:
        set_columns(work, "workloads", id_of(name), created_at=work.now - age, revision=1)
    return id_of(name)


def promise(telemetry: Telemetry, rate: float = 0.999, **fields: Any) -> None:
    """A policy with an objective."""
    rule = {"type": "slo", "min_success_rate": rate}
    document = {"name": "slo", "rules": [rule], **fields}
    with telemetry.store.begin() as work:
        work.policies.put(PolicyDocument.model_validate(document), "tests")


def report(telemetry: Telemetry, of: uuid.UUID, requests: float, errors: float) -> None:
    with telemetry.store.begin() as work:
        assert telemetry.report(of, (work.now, {"requests": requests, "errors": errors})).status == 202


def look(telemetry: Telemetry) -> None:
    """Has rollups made, and then every budget looked at."""
    telemetry.tick()
    due(telemetry)
    telemetry.tick()


def due(telemetry: Telemetry) -> None:
    with telemetry.store.begin() as work:
        connection_of(work).execute(slo_checks.update().values(due_at=work.now - timedelta(seconds=1)))


def told(telemetry: Telemetry) -> list[dict[str, Any]]:
    """The data of every breach event, in order."""
    with telemetry.store.begin() as work:
        rows = connection_of(work).execute(sa.select(outbox).order_by(outbox.c.created_at, outbox.c.id))
        return [json.loads(row.body) for row in rows if row.attributes["type"] == BREACHED]


def test_a_breach_is_told_of_once_when_it_begins_and_once_when_it_is_over(telemetry: Telemetry) -> None:
    web = workload(telemetry)
    promise(telemetry)
    report(telemetry, web, 1000, 20)
    for _ in range(3):
        look(telemetry)
    [begun] = told(telemetry)
    assert (begun["state"], begun["burnRate"], begun["factor"]) == ("raised", 20, 14.4)
    assert (begun["policy"], begun["target"], begun["longWindow"], begun["shortWindow"]) == (
        "slo",
        0.999,
        "PT1H",
        "PT5M",
    )
    report(telemetry, web, 1_000_000, 0)
    for _ in range(3):
        look(telemetry)
    over = told(telemetry)[1:]
    assert [(one["state"], one["breach"]) for one in over] == [("over", begun["breach"])]
    report(telemetry, web, 10_000_000, 10_000_000)
    look(telemetry)
    again = told(telemetry)[2:]
    assert [one["state"] for one in again] == ["raised"]
    assert again[0]["breach"] != begun["breach"]
    with telemetry.store.begin() as work:
        actions = sa.select(audit_log.c.action).where(audit_log.c.subject == str(web)).order_by(audit_log.c.sequence)
        assert list(connection_of(work).execute(actions).scalars())[-3:] == [
            "slo.breach.raised",
            "slo.breach.over",
            "slo.breach.raised",
        ]


def test_a_breach_that_lasts_says_how_fast_the_budget_burns_now(telemetry: Telemetry) -> None:
    web = workload(telemetry)
    promise(telemetry)
    report(telemetry, web, 1000, 20)
    look(telemetry)
    report(telemetry, web, 1000, 40)
    look(telemetry)
    assert [row["burn_rate"] for row in telemetry.rows("slo_breaches", "id")] == [30]
    assert [one["state"] for one in told(telemetry)] == ["raised"]


def test_ticks_at_once_tell_of_a_breach_once(telemetry: Telemetry) -> None:
    web = workload(telemetry)
    promise(telemetry)
    report(telemetry, web, 1000, 1000)
    telemetry.tick()
    for _ in range(5):
        due(telemetry)
        in_parallel(*[telemetry.tick] * 4)
    assert [one["state"] for one in told(telemetry)] == ["raised"]


def test_each_pair_of_windows_of_the_workbook_begins_and_ends_by_itself(telemetry: Telemetry) -> None:
    web = workload(telemetry, age=timedelta(days=4))
    promise(telemetry)
    report(telemetry, web, 1000, 10)  # ten times as fast as it may
    look(telemetry)
    assert [one["factor"] for one in told(telemetry)] == [6, 3, 1]
    report(telemetry, web, 3000, 0)  # two and a half times
    look(telemetry)
    assert [(one["state"], one["factor"]) for one in told(telemetry)[3:]] == [("over", 6), ("over", 3)]


def test_a_burn_rate_at_its_factor_is_no_breach(telemetry: Telemetry) -> None:
    web = workload(telemetry)
    promise(telemetry)
    report(telemetry, web, 10_000, 144)
    look(telemetry)
    assert told(telemetry) == []


@pytest.mark.parametrize(
    "fields",
    [{"mode": "dry_run"}, {"selector": {"teams": ["ads"]}}, {"enabled": False}],
    ids=["in dry run", "for another team", "disabled"],
)
def test_a_policy_that_promises_nothing_for_the_workload_raises_nothing(
    telemetry: Telemetry, fields: dict[str, Any]
) -> None:
    web = workload(telemetry)
    promise(telemetry, **fields)
    report(telemetry, web, 1000, 1000)
    look(telemetry)
    assert told(telemetry) == []


def test_a_policy_promises_for_its_workloads_whatever_the_verbs_that_it_selects(telemetry: Telemetry) -> None:
    web = workload(telemetry)
    promise(telemetry, selector={"teams": ["search"], "skus": ["L4"], "verbs": ["rollback"]})
    report(telemetry, web, 1000, 1000)
    look(telemetry)
    assert [one["state"] for one in told(telemetry)] == ["raised"]


def test_a_workload_younger_than_the_window_breaches_nothing(telemetry: Telemetry) -> None:
    web = workload(telemetry, age=HOUR - timedelta(minutes=1))
    promise(telemetry)
    report(telemetry, web, 1000, 1000)
    look(telemetry)
    assert told(telemetry) == []


def test_a_breach_is_not_over_because_telemetry_ends_and_is_when_nobody_promises_any_more(
    telemetry: Telemetry,
) -> None:
    web = workload(telemetry)
    promise(telemetry)
    report(telemetry, web, 1000, 1000)
    look(telemetry)
    with telemetry.store.begin() as work:
        for table in ("workload_minutes", "workload_hours"):
            late = sa.text(f"UPDATE {table} SET newest_at = newest_at - interval '20 minutes'")
            connection_of(work).execute(late)
    due(telemetry)
    telemetry.tick()
    assert [one["state"] for one in told(telemetry)] == ["raised"]
    promise(telemetry, enabled=False)
    due(telemetry)
    telemetry.tick()
    assert [(one["state"], one["burnRate"]) for one in told(telemetry)] == [("raised", 1000), ("over", None)]
    assert telemetry.rows("slo_checks", "1") == []
    with telemetry.store.begin() as work:
        lasting = sa.select(sa.func.count()).where(slo_breaches.c.over_at.is_(None))
        assert connection_of(work).execute(lasting).scalar_one() == 0


def test_nothing_is_looked_at_while_no_policy_has_an_objective(telemetry: Telemetry) -> None:
    web = workload(telemetry)
    report(telemetry, web, 1000, 1000)
    look(telemetry)
    assert telemetry.rows("slo_checks", "1") == []
