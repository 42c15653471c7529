"""Migrations and roles: the tables are what the code thinks, and the application may do no more than it must."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import ProgrammingError

from knative.local.runtime.postgres import EmbeddedPostgres
from shared.models.bindings import ALLOW_ALL, Bindings
from shared.models.page import PageRequest
from shared.models.retention import DEFAULT_RETENTION
from shared.models.stored import WorkloadFilter
from shared.models.workload import workload_id
from shared.operations import ledger_check
from shared.operations.apply import TaskPostponed
from shared.operations.bindings import BindingCache
from shared.operations.observe import Observed
from shared.operations.telemetry import roll_up
from shared.operations.workloads import list_workloads
from shared.policy.resources import keys_of
from shared.rollout.pricing import default_prices
from shared.store import migrate
from shared.store.database import connect
from shared.store.migrate import configuration, upgrade
from shared.store.telemetry_tables import gpu_samples
from shared.store.unit_of_work import Store
from tests.support.builders import Deliver, in_parallel, rows
from tests.support.chain import TICK
from tests.support.functions import ChainFunctions

metadata = gpu_samples.metadata


@pytest.fixture
def fresh_url(postgres: EmbeddedPostgres, owner_engine: sa.Engine) -> Iterator[str]:
    """The owner's URL of a database without any table."""
    with owner_engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("CREATE DATABASE fresh"))
        yield postgres.owner_url.replace("@/sentinel?", "@/fresh?")
        connection.execute(sa.text("DROP DATABASE fresh WITH (FORCE)"))


def tables(url: str) -> set[str]:
    engine = connect(url)
    try:
        return set(sa.inspect(engine).get_table_names())
    finally:
        engine.dispose()


def test_migrations_make_the_tables_that_the_code_declares(owner_engine: sa.Engine) -> None:
    with owner_engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, metadata) == []


@pytest.mark.slow
def test_two_runs_at_once_and_a_third_make_one_schema(fresh_url: str) -> None:
    in_parallel(*[partial(upgrade, fresh_url)] * 2)
    upgrade(fresh_url)
    assert tables(fresh_url) == {*metadata.tables, "alembic_version"}
    engine = connect(fresh_url)
    assert len(rows(engine, "prices")) == len(default_prices())
    engine.dispose()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jenkins%2Fmain", "100%", "%(here)s", "a b $HOME ü"])
def test_the_migrations_may_be_in_a_checkout_of_any_path(
    name: str, fresh_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(Path(migrate.__file__).with_name("migrations"), tmp_path / name / "migrations")
    monkeypatch.setattr(migrate, "files", lambda _: tmp_path / name)
    upgrade(fresh_url, "0001")
    assert "alembic_version" in tables(fresh_url)


@pytest.mark.slow
def test_down_and_up_again(fresh_url: str) -> None:
    upgrade(fresh_url)
    engine = connect(fresh_url)
    with engine.connect() as connection:
        command.downgrade(configuration(connection), "base")
        connection.commit()
    assert tables(fresh_url) == {"alembic_version"}
    upgrade(fresh_url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


OLD_SPEC: dict[str, object] = {
    "type": "inference",
    "image": "nginx latest",  # from before images were parsed
    "team": "search",
    "namespace": "search",
    "replicas": 2,
    "resources": {"cpu": "0", "memory": "1Gi", "gpu": {"count": 1, "sku": "L4", "mig": None}},
    "env": {"B": "b", "A": {"secret": "s", "key": "k"}},
    "volumes": [{"name": "v", "mountPath": "/var/run/nvidia-container-devices/a", "hostPath": "/a/../b"}],
    "labels": {"pod-template-hash": "x"},
    "command": ["x" * 200_000],
    "deadline": "P1Y",
    "bake": "PT0S",
}
"""What releases before this one took: each line but the first breaks a rule, or has a form, of its own."""

_AMOUNTS = {"replicas": 2, "cpu": 0, "memory": 2**31, "gpus": 2, "usd_per_hour": "1.93"}
_OLD_ROWS = (
    """
    INSERT INTO workloads
           (id, team, namespace, name, generation, spec, usd_per_replica_hour, phase, cluster, plan_id, revision)
    VALUES (:workload, 'search', 'search', :name, 1, CAST(:spec AS jsonb), 1, 'verifying', 'local', :plan, 1)
    """,
    """
    INSERT INTO action_plans (id, workload_id, generation, source, decision, amounts, surge, status)
    VALUES (:plan, :workload, 1, 'user', '{"verb": "deploy", "cluster": "local", "replicas": 20000, "old": 1}',
            CAST(:amounts AS jsonb), CAST(:amounts AS jsonb), 'executed')
    """,
    """
    INSERT INTO deployments (id, workload_id, revision, generation, plan_id, cluster, kind, namespace, name, manifest,
                             sku, amounts, status, applied_at, deadline_at, observed_at)
    VALUES (:plan, :workload, 1, 1, :plan, 'local', 'Deployment', 'search', :name, '{}',
            'L4', CAST(:amounts AS jsonb), 'verifying', now() - interval '1 minute', now(), now() - interval '1 minute')
    """,
    """
    INSERT INTO reservations
           (workload_id, cluster, sku, team, plan_id, state, replicas, cpu, memory, gpus, usd_per_hour)
    VALUES (:workload, 'local', 'L4', 'search', :plan, 'committed', 2, 0, 2147483648, 2, 1.93)
    """,
)


@pytest.mark.slow
def test_rows_of_every_earlier_release_are_listed_verified_and_checked(fresh_url: str) -> None:
    upgrade(fresh_url, "0001")
    engine = connect(fresh_url)
    with engine.connect() as connection:
        script = ScriptDirectory.from_config(configuration(connection))
    releases = [one.revision for one in reversed([*script.walk_revisions()])]
    for release in releases:
        upgrade(fresh_url, release)
        name = f"of-{release}"
        values = {
            "workload": workload_id("search", "search", name),
            "plan": uuid.uuid4(),
            "name": name,
            "spec": json.dumps({**OLD_SPEC, "name": name}),
            "amounts": json.dumps(_AMOUNTS),
        }
        with engine.begin() as connection:
            for statement in _OLD_ROWS:
                used = sa.text(statement)
                connection.execute(used, {key: values[key] for key in used.compile().params})
    upgrade(fresh_url)
    store = Store(engine)
    observed = ChainFunctions(lambda _: TaskPostponed(""), lambda task: Observed({})).verification
    assert Deliver(store)(observed, TICK, {}, subject=None).status == 202
    with store.begin() as work:
        page = list_workloads(work, WorkloadFilter(), PageRequest(100, "name"))
        ledger_check.check(work)
        assert [workload.spec.name for workload in page.items] == [f"of-{release}" for release in releases]
        assert {one.spec.deadline for one in page.items} == {timedelta(days=365)}
        for workload in page.items:
            [revision] = work.deployments.live(workload.id)
            assert revision.reason == ""
            assert revision.observed_at is not None
            assert revision.observed_at > work.now - timedelta(seconds=30)
    engine.dispose()


@pytest.mark.slow
@pytest.mark.parametrize(("used", "bound"), [(True, ALLOW_ALL), (False, Bindings())], ids=["used", "new"])
def test_what_was_used_before_goes_on_and_what_is_new_binds_nothing(
    fresh_url: str, used: bool, bound: Bindings
) -> None:
    upgrade(fresh_url, "0023")
    engine = connect(fresh_url)
    if used:
        with engine.begin() as connection:
            connection.execute(sa.text(_OLD_AUDIT_ROW))
    upgrade(fresh_url)
    with Store(engine).begin() as work:
        assert BindingCache().current(work) == bound
    engine.dispose()


_OLD_AUDIT_ROW = """
    INSERT INTO audit_log (shard, sequence, action, subject, actor, body, previous_hash, hash)
    VALUES (0, 1, 'cluster.added', 'cluster/eu', 'system', '', '', '')
"""


@pytest.mark.slow
def test_prices_that_somebody_set_are_left_alone(fresh_url: str) -> None:
    upgrade(fresh_url)
    engine = connect(fresh_url)
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM prices WHERE sku <> 'H100'"))
    upgrade(fresh_url)
    assert [row["sku"] for row in rows(engine, "prices")] == ["H100"]
    engine.dispose()


def test_the_application_owns_nothing(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        owned = connection.execute(
            sa.text("SELECT relname FROM pg_class WHERE relowner = CAST(current_user AS regrole)")
        ).all()
        settings = connection.execute(
            sa.text(
                "SELECT rolsuper, rolcreaterole, rolcreatedb, rolbypassrls FROM pg_roles WHERE rolname = current_user"
            )
        ).one()
    assert owned == []
    assert tuple(settings) == (False, False, False, False)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET action = 'x'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "TRUNCATE workloads",
        "DROP TABLE workloads",
        "ALTER TABLE workloads ADD COLUMN x int",
        "CREATE TABLE mine (x int)",
        "DROP FUNCTION audit_append",
        "DELETE FROM alembic_version",
        "SET ROLE sentinel_owner",
        "SELECT pg_read_file('/etc/passwd')",
    ],
)
def test_what_the_application_may_not(store: Store, engine: sa.Engine, statement: str) -> None:
    with engine.connect() as connection, pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
        connection.execute(sa.text(statement))


def test_the_command_migrates(fresh_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "shared.store.migrate"],
        env={**os.environ, "DATABASE_OWNER_URL": fresh_url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "workloads" in tables(fresh_url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", "set DATABASE_OWNER_URL to the database URL of the role that owns the tables"),
        ("mysql://x", "migrations failed: DATABASE_URL must start with postgresql://"),
        ("postgresql://x@127.0.0.1:1/x", "migrations failed: the database is not available: "),
        ("{owner}/nowhere", "migrations failed: "),  # pg8000 may lose the server's last words, so either reason
        ("{application}/postgres", "migrations failed: {{'C': '42501'"),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(
    postgres: EmbeddedPostgres,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    url: str,
    expected: str,
) -> None:
    application, owner = (known.replace("@/sentinel?", "@/{}?") for known in (postgres.url, postgres.owner_url))
    server, _, database = url.partition("}/")
    given = {"{application": application, "{owner": owner}.get(server, url).format(database)
    monkeypatch.setenv("DATABASE_OWNER_URL", given)
    assert migrate.main() == 1
    said = capsys.readouterr().err
    assert said.startswith(expected.replace("{{", "{")), said
    assert len(said.splitlines()) == 1


@pytest.mark.slow
def test_plans_that_wait_already_are_found_by_what_they_wait_for(fresh_url: str) -> None:
    waiting = [["team/search"], ["team/search gpus[H100]", "cluster/eu cpu"], ["cluster/eu capacity[L4]"], []]
    upgrade(fresh_url, "0017")
    engine = connect(fresh_url)
    with engine.begin() as connection:
        for waits_for in waiting:
            values = {"waits_for": json.dumps(waits_for), "amounts": json.dumps(_AMOUNTS)}
            connection.execute(sa.text(_QUEUED_PLAN), values)
    upgrade(fresh_url)
    found = {json.dumps(row["waits_for"]): row["wait_keys"] for row in rows(engine, "action_plans")}
    assert found == {json.dumps(waits_for): keys_of(waits_for) for waits_for in waiting}
    engine.dispose()


_QUEUED_PLAN = """
    INSERT INTO action_plans (id, workload_id, generation, source, decision, amounts, surge, status, waits_for)
    VALUES (gen_random_uuid(), gen_random_uuid(), 1, 'user', '{}', CAST(:amounts AS jsonb), CAST(:amounts AS jsonb),
            'queued', CAST(:waits_for AS jsonb))
"""


@pytest.mark.slow
def test_what_workloads_reported_before_is_in_the_rollups(fresh_url: str) -> None:
    """Of the last 400 days, with the uptime, the sums and the weighted latencies that policy reads."""
    upgrade(fresh_url, "0034")
    engine = connect(fresh_url)
    workload, ages = uuid.uuid4(), ("450 days", "40 days", "40 days", "2 hours", "0 seconds")
    with engine.begin() as connection:
        for number, age in enumerate(ages):
            sample = {
                "metrics": {"up": number % 2, "requests": 10, "errors": 1, "latency_p95_seconds": 0.5, "other": 1}
            }
            values = {"workload": str(workload), "age": age, "sample": json.dumps(sample)}
            connection.execute(sa.text(_OLD_SAMPLE), values)
    upgrade(fresh_url)
    store = Store(engine)
    with store.begin() as work:
        moment = work.now + timedelta(hours=2)  # when this hour is over
    with store.transaction(moment) as work:
        roll_up(work, DEFAULT_RETENTION)
    hours, minutes = (rows(engine, f"workload_{unit}") for unit in ("hours", "minutes"))
    assert {row["workload_id"] for row in (*hours, *minutes)} == {workload}
    assert (sum(row["requests"] for row in hours), sum(row["requests"] for row in minutes)) == (40, 20)
    assert {row["latency_p95_seconds"] / row["latency_p95_weight"] for row in (*hours, *minutes)} == {0.5}
    assert min((row["starts_at"], row["up"]) for row in hours)[1] == 1
    engine.dispose()


_OLD_SAMPLE = """
    INSERT INTO telemetry (kind, subject, observed_at, sample, created_at)
    SELECT 'workload', :workload, now() - CAST(:age AS interval) - random() * interval '1 millisecond',
           CAST(:sample AS jsonb), now() - CAST(:age AS interval)
"""
