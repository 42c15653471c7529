"""The metrics of the store: what they count is what is there, whoever writes, and a scrape costs the same."""

import shutil
import subprocess
import uuid
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from functions.api.metrics import MetricsPage, exposition
from shared.models.identity import Role
from shared.models.slo import Breach, Crossing
from shared.operations.metrics import Limits, measure
from shared.policy.documents import PolicyDocument
from shared.store.unit_of_work import Store
from shared.telemetry.metrics import METRICS, Measurement
from tests.functions.api.test_page_costs import rows_read
from tests.support.builders import Deliver, connection_of, id_of
from tests.support.queueing import gpus, policy
from tests.support.rest import Rest


def measured(store: Store) -> dict[tuple[str, ...], float]:
    with store.read() as work:
        return {(one.metric.removeprefix("sentinel_"), *one.labels): one.value for one in measure(work, Limits())}


def counted(owner: sa.Engine) -> dict[tuple[str, ...], float]:
    with owner.connect() as connection:
        statement = "SELECT phase, team, count(*) FROM workloads GROUP BY phase, team"
        return {("workloads", row[0], row[1]): float(row[2]) for row in connection.execute(sa.text(statement))}


def phases(store: Store) -> dict[tuple[str, ...], float]:
    return {key: value for key, value in measured(store).items() if key[0] == "workloads"}


def test_workloads_are_counted_by_phase_and_team_whoever_writes(
    store: Store, deliver: Deliver, owner_engine: sa.Engine
) -> None:
    policy(store, gpus(2))
    deliver.decide("a")
    deliver.decide("b", queue=True)
    deliver.decide("c", team="ads")
    assert phases(store) == counted(owner_engine) != {}
    for change in (
        "UPDATE workloads SET phase = 'healthy'",
        "UPDATE workloads SET phase = 'failed' WHERE name IN ('a', 'b')",
        "UPDATE workloads SET reason = 'unchanged'",
        "DELETE FROM workloads WHERE name = 'b'",
    ):
        with owner_engine.begin() as connection:
            connection.execute(sa.text(change))
        assert phases(store) == counted(owner_engine)


def test_decisions_and_what_policies_found_are_counted_once(store: Store, deliver: Deliver) -> None:
    policy(store, gpus(2))
    with store.begin() as work:
        rule = {"type": "quota", "scope": "team", "gpus": 1}
        work.policies.put(PolicyDocument.model_validate({"name": "dry", "mode": "dry_run", "rules": [rule]}), "ada")
    for name in ("a", "b", "c"):
        deliver.decide(name)
    found = measured(store)
    assert (found["decisions_total", "approved"], found["decisions_total", "denied"]) == (1, 2)
    enforced = {key[1:]: value for key, value in found.items() if key[0] == "violations_total"}
    assert {key[2]: value for key, value in enforced.items()} == {"enforce": 2, "dry_run": 3}


def test_the_time_until_healthy_falls_into_its_bucket(store: Store, deliver: Deliver, owner_engine: sa.Engine) -> None:
    deliver.decide("a")
    with owner_engine.begin() as connection:
        connection.execute(sa.text("UPDATE workloads SET phase = 'verifying'"))
        connection.execute(sa.text("UPDATE action_plans SET created_at = now() - interval '42 seconds'"))
        connection.execute(sa.text("UPDATE workloads SET phase = 'healthy'"))
        connection.execute(sa.text("UPDATE workloads SET phase = 'degraded'"))
        connection.execute(sa.text("UPDATE workloads SET phase = 'healthy'"))
    found = measured(store)
    assert found["submitted_to_healthy_seconds", "60"] == 1
    assert found["submitted_to_healthy_seconds", "sum"] == 42
    with store.read() as work:
        text = exposition(measure(work, Limits())).decode()
    assert 'sentinel_submitted_to_healthy_seconds_bucket{le="30"} 0.0' in text
    assert 'sentinel_submitted_to_healthy_seconds_bucket{le="60"} 1.0' in text
    assert 'sentinel_submitted_to_healthy_seconds_bucket{le="+Inf"} 1.0' in text
    assert "sentinel_submitted_to_healthy_seconds_sum 42.0" in text


def test_a_rollout_that_ends_is_counted_once_by_its_outcome(
    store: Store, deliver: Deliver, owner_engine: sa.Engine
) -> None:
    deliver.decide("a")
    assert rollouts(store) == {"healthy": 0, "failed": 0}
    for phase, outcomes in (
        ("verifying", (0, 0)),
        ("unhealthy", (0, 1)),
        ("failed", (0, 1)),  # there is nothing to go back to
        ("healthy", (1, 1)),  # it recovered
        ("unhealthy", (1, 1)),  # no rollout
        ("applying", (1, 1)),
        ("failed", (1, 2)),
    ):
        with owner_engine.begin() as connection:
            connection.execute(sa.text("UPDATE workloads SET phase = :phase"), {"phase": phase})
        assert rollouts(store) == dict(zip(("healthy", "failed"), outcomes, strict=True)), phase


@pytest.mark.parametrize("verb", ["rollback", "remove"])
def test_a_rollback_or_a_removal_that_fails_is_no_rollout(
    store: Store, deliver: Deliver, owner_engine: sa.Engine, verb: str
) -> None:
    deliver.decide("a")
    with owner_engine.begin() as connection:
        statement = "UPDATE action_plans SET decision = jsonb_set(decision, '{verb}', to_jsonb(CAST(:verb AS text)))"
        connection.execute(sa.text(statement), {"verb": verb})
        for phase in ("applying", "failed"):
            connection.execute(sa.text("UPDATE workloads SET phase = :phase"), {"phase": phase})
    assert rollouts(store) == {"healthy": 0, "failed": 0}


def rollouts(store: Store) -> dict[str, float]:
    return {key[1]: value for key, value in measured(store).items() if key[0].startswith("rollouts")}


def test_breaches_that_last_are_counted_by_team_policy_and_factor(store: Store, deliver: Deliver) -> None:
    for name, team in (("a", "search"), ("b", "search"), ("c", "ads")):
        deliver.decide(name, team=team)
    with store.begin() as work:
        for name, factor, rate in (("a", 14.4, 20), ("b", 14.4, 30), ("b", 1, 30), ("c", 6, 7)):
            team = "ads" if name == "c" else "search"
            pair = Crossing(0.99, factor, timedelta(hours=1), timedelta(minutes=5))
            work.breaches.add(Breach(uuid.uuid4(), id_of(name, team), "p", pair, rate, work.now))
    assert breaches(store) == {
        ("slo_breaches", "search", "p", "14.4"): 2,
        ("slo_burn_rate", "search", "p", "14.4"): 30,
        ("slo_breaches", "search", "p", "1"): 1,
        ("slo_burn_rate", "search", "p", "1"): 30,
        ("slo_breaches", "ads", "p", "6"): 1,
        ("slo_burn_rate", "ads", "p", "6"): 7,
    }
    with store.begin() as work:
        ids = [id_of("a"), id_of("b"), id_of("c", "ads")]
        for lasting in work.breaches.lasting(ids).values():
            for breach in lasting.values():
                work.breaches.end(breach.id, work.now)
    assert breaches(store) == {}


def breaches(store: Store) -> dict[tuple[str, ...], float]:
    return {key: value for key, value in measured(store).items() if key[0].startswith("slo_")}


def test_what_is_held_and_what_limits_it(store: Store, deliver: Deliver) -> None:
    limits = [
        {"type": "quota", "scope": "team", "gpus": 8},
        {"type": "cost_ceiling", "scope": "team", "usd_per_month": "900"},
    ]
    document = {"name": "limits", "selector": {"teams": ["search", "ads"]}, "rules": limits}
    with store.begin() as work:
        work.policies.put(PolicyDocument.model_validate(document), "ada")
    deliver.decide("a")
    found = measured(store)
    assert found["reserved_gpus", "search", "local", "L4"] == 2
    assert found["cost_usd_per_hour", "search", "local", "L4"] == pytest.approx(1.93068)
    assert {key[3]: found[key] for key in found if key[0] == "quota_gpus"} == {"search": 8, "ads": 8}
    assert found["ceiling_usd_per_month", "limits", "team", "ads"] == 900
    assert found["outbox_events",] >= 0
    assert found["cluster_away", "local"] == 0
    assert sum(value for key, value in found.items() if key[0] == "audit_rows_total") > 0


def test_a_page_is_made_once_an_interval(store: Store) -> None:
    clock = [0.0]
    page = MetricsPage(timedelta(seconds=10), lambda: clock[0])
    asked: list[str] = []
    with store.read() as work:
        connection = connection_of(work)
        sa.event.listen(connection, "before_cursor_execute", lambda *call: asked.append(call[2]))
        for moment in (0.0, 9.9, 10.0, 19.0):
            clock[0] = moment
            page.read(work)
    assert sum("tallies" in statement for statement in asked) == 2


def test_only_a_role_for_all_teams_reads_metrics(rest: Rest) -> None:
    rest.bind("eve", Role.ADMIN, "ads")
    rest.bind("prometheus", Role.VIEWER)
    assert [rest("GET", "//metrics", user=user).status for user in (None, "eve", "prometheus")] == [401, 403, 200]
    assert rest("GET", "//metrics").headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, of Debian's package prometheus")
def test_promtool_finds_nothing_to_complain_about() -> None:
    """Every metric of the catalogue at once."""
    samples = [Measurement(one.name, one.labels or _bucket(one.type), 1.0) for one in METRICS.values()]
    checked = subprocess.run(["promtool", "check", "metrics"], input=exposition(samples), capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def _bucket(kind: str) -> tuple[str, ...]:
    return ("1",) if kind == "histogram" else ()


@pytest.mark.slow
def test_a_scrape_looks_at_as_many_rows_with_many_workloads_as_with_few(
    store: Store, deliver: Deliver, owner_engine: sa.Engine
) -> None:
    deliver.decide("one")
    looked_at = []
    for number in (300, 5_000):
        _copy_workloads(owner_engine, number)
        with owner_engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("VACUUM ANALYZE workloads, action_plans, tallies, policy_decisions"))
        with store.read() as work:
            looked_at.append(rows_read(work, lambda work: work.measurements.all()))
    assert looked_at[1] <= looked_at[0] * 1.1 + 20, looked_at


def _copy_workloads(owner: sa.Engine, number: int) -> None:
    """So many more workloads, with their plans and decisions, as of the one that is there."""
    with owner.begin() as connection:
        for table in ("workloads", "action_plans", "policy_decisions"):
            names = connection.execute(
                sa.text("SELECT column_name FROM information_schema.columns WHERE table_name = :table"),
                {"table": table},
            ).scalars()
            salt = uuid.uuid4().hex
            changed: dict[str, Any] = {
                "id": f"md5('{salt}{table}' || number)::uuid",
                "plan_id": f"md5('{salt}action_plans' || number)::uuid",
                "workload_id": f"md5('{salt}workloads' || number)::uuid",
                "name": f"'{salt}-' || number",
                "status": "'executed'",
            }
            columns = {name: changed.get(name, f"original.{name}") for name in names}
            connection.execute(
                sa.text(
                    f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns.values())}"
                    f" FROM (SELECT * FROM {table} ORDER BY created_at LIMIT 1) AS original,"
                    f" generate_series(1, {number}) AS number"
                )
            )
