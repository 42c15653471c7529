"""The command itself: which platform it works on, how it ends, what it says and what it never says."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa

from functions.cli.errors import printable
from functions.cli.main import GROUPS, SINGLE_COMMANDS, load
from knative.local.runtime.postgres import EmbeddedPostgres
from shared.store.unit_of_work import Store
from tests.functions.cli.conftest import INSTALLED, Ran, Sentinel
from tests.support.brokers import Broker
from tests.support.builders import Deliver, submission

COMMANDS = ("submit", "remove", "get", "trace", "queue", "events", "cluster", "policy", "price", "ledger")


def installed(directory: Path, *arguments: str, **environment: str) -> Ran:
    """The command as its own process in a directory."""
    done = subprocess.run(
        [INSTALLED, *arguments],
        cwd=directory,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def test_help_lists_every_command_and_exit_code(lost: Sentinel) -> None:
    for ran in (lost("--help"), lost()):
        assert ran.code == 0
        for word in (*COMMANDS, "130  interrupted"):
            assert word in ran.out


def test_without_a_platform_the_fix_is_named(tmp_path: Path) -> None:
    ran = installed(tmp_path, "get")
    said = "sentinel: no platform is running on .sentinel: start one with `make run`, or set DATABASE_URL\n"
    assert ran == Ran(1, "", said)


def test_the_installed_command_works_on_the_platform_of_the_directory_it_is_in(
    tmp_path: Path, state: Path, store: Store
) -> None:
    state.rename(tmp_path / ".sentinel")
    assert installed(tmp_path, "cluster", "list").out.splitlines()[1].startswith("local")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"database_url": "x"}', "\xff"])
def test_a_state_directory_that_makes_no_sense_is_named(lost: Sentinel, tmp_path: Path, text: str) -> None:
    (tmp_path / "platform.json").write_text(text, encoding="latin-1")
    ran = lost("--state", tmp_path, "get")
    assert ran.code == 1
    assert ran.err.startswith(f"sentinel: {tmp_path}/platform.json is not what a running platform writes")


def test_a_state_directory_that_cannot_be_read_is_named(lost: Sentinel, tmp_path: Path) -> None:
    (tmp_path / "platform.json").mkdir()
    ran = lost("--state", tmp_path, "get")
    assert (ran.code, ran.err) == (1, f"sentinel: {tmp_path}/platform.json cannot be read: Is a directory\n")
    assert lost("--state", INSTALLED, "get").err.startswith(f"sentinel: no platform is running on {INSTALLED}")


def test_an_explicit_state_directory_comes_before_database_url(
    lost: Sentinel, state: Path, deliver: Deliver, broker: Broker
) -> None:
    deliver.submit()
    elsewhere = "postgresql+pg8000://nobody@127.0.0.1:1/none"
    assert len(lost("--state", state, "get", DATABASE_URL=elsewhere, K_SINK="http://127.0.0.1:1").lines) == 2
    ran = lost("--state", state, "submit", "-f", "-", stdin=json.dumps(submission("b")), K_SINK="http://127.0.0.1:1")
    assert (ran.code, ran.err) == (0, "")
    assert len(broker.events) == 1


def test_database_url_comes_before_the_state_directory_of_the_environment(
    lost: Sentinel, state: Path, database_url: str, broker: Broker, tmp_path: Path
) -> None:
    assert lost("get", SENTINEL_STATE=str(state)).code == 0
    assert lost("get", SENTINEL_STATE=str(tmp_path / "none"), DATABASE_URL=database_url).code == 0
    workload = json.dumps(submission())
    ran = lost("submit", "-f", "-", stdin=workload, SENTINEL_STATE=str(state), DATABASE_URL=database_url)
    assert "the relay publishes" in ran.err
    assert broker.events == []


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("nonsense", 2, "DATABASE_URL is not a database URL: write postgresql://user@host/database"),
        ("mysql://me:hunter2@db/x", 2, "DATABASE_URL must start with postgresql://, not mysql://"),
        ("postgresql://me:hunter2@127.0.0.1:1/x", 1, "DATABASE_URL: the database is not available: InterfaceError"),
    ],
)
def test_a_database_that_is_not_there_is_said_without_its_password(
    lost: Sentinel, url: str, code: int, said: str
) -> None:
    ran = lost("get", DATABASE_URL=url)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith(f"sentinel: {said}")
    assert len(ran.err.splitlines()) == 1
    assert "hunter2" not in ran.err


def test_what_the_database_refuses_comes_with_the_fix(
    lost: Sentinel, postgres: EmbeddedPostgres, database_url: str
) -> None:
    def said(url: str, *arguments: str) -> str:
        ran = lost(*(arguments or ("get",)), DATABASE_URL=url)
        assert ran.code == 1
        return ran.err

    assert "there is no such database; check DATABASE_URL" in said(database_url.replace("/sentinel?", "/nothing?"))
    assert "the login was refused" in said(database_url.replace("//sentinel@", "//nobody@"))
    assert "it has no Sentinel tables yet; run `python -m shared.store.migrate`" in said(
        postgres.owner_url.replace("/sentinel?", "/postgres?")
    )


def test_a_statement_that_the_database_refuses_is_no_traceback(
    sentinel: Sentinel, deliver: Deliver, owner_engine: sa.Engine
) -> None:
    def ran_after(change: str, back: str) -> Ran:
        with owner_engine.begin() as connection:
            connection.execute(sa.text(change))
        try:
            return sentinel("get")
        finally:
            with owner_engine.begin() as connection:
                connection.execute(sa.text(back))

    deliver.submit()
    revoked = ran_after("REVOKE SELECT ON workloads FROM sentinel_app", "GRANT SELECT ON workloads TO sentinel_app")
    said = "sentinel: DATABASE_URL: the database refused: its role may not do this; use a role that is a member of"
    assert revoked.code == 1
    assert revoked.err.startswith(said)
    older = ran_after("ALTER TABLE workloads RENAME reason TO why", "ALTER TABLE workloads RENAME why TO reason")
    assert "its tables are of another version of Sentinel; run `python -m shared.store.migrate`" in older.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bogus",), "No such command 'bogus'; see `sentinel --help`"),
        (("--bogus",), "No such option: --bogus; see `sentinel --help`"),
        (("submit",), "Missing option '-f' / '--file'; see `sentinel submit --help`"),
        (("trace",), "Missing argument 'NAME|ID'; see `sentinel trace --help`"),
        (("events",), "Missing command; see `sentinel events --help`"),
        (("get", "-o", "xml"), "Invalid value for '-o' / '--output': 'xml' is not one of 'table', 'json', 'yaml'; see"),
        (("get", "--phase", "lost"), "Invalid value for '--phase': 'lost' is not one of 'proposed', 'denied', "),
        (("get", "--limit", "0"), "Invalid value for '--limit': Input should be greater than or equal to 1; see"),
    ],
)
def test_a_command_that_is_not_understood_is_one_line_and_code_2(
    lost: Sentinel, arguments: tuple[str, ...], said: str
) -> None:
    ran = lost(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"sentinel: {said}")
    assert len(ran.err.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("arguments", [("price", "list"), ("price", "list", "-o", "json"), ("--help",)])
def test_output_that_cannot_be_written_is_no_traceback(
    postgres: EmbeddedPostgres, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [INSTALLED, *arguments],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "DATABASE_URL": postgres.url},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        1,
        "sentinel: the output cannot be written: No space left on device\n",
    )


def imported(script: str, *packages: str) -> list[str]:
    """Which of these packages a process of its own has imported after the script."""
    python = INSTALLED.with_name("python")
    shown = f"{script}; import sys; print(*[one for one in {packages!r} if one in sys.modules])"
    return subprocess.run([python, "-c", shown], capture_output=True, text=True, check=True).stdout.split()


def test_help_needs_neither_the_store_nor_the_models() -> None:
    assert imported("import functions.cli.main", "sqlalchemy", "pydantic", "yaml", "rich") == []


def test_a_command_that_reads_imports_what_it_needs_alone(database_url: str) -> None:
    script = (
        f"import os; os.environ['DATABASE_URL'] = {database_url!r}; from typer.main import get_group; "
        "from functions.cli.main import app; get_group(app).main(['get', '--team', 'none'], standalone_mode=False)"
    )
    others = ("rich", "yaml", "alembic", "cloudevents", "functions_framework", "jsonschema", "kubernetes", "aiohttp")
    ours = ("events", "shared.policy.evaluate", "shared.store.ledger", "shared.store.facts", "shared.clusters")
    assert imported(script, "shared.store.workloads", *others, *ours)[-1:] == ["shared.store.workloads"]


def test_the_list_of_commands_says_what_each_says_of_itself() -> None:
    for name, deferred in {**SINGLE_COMMANDS, **GROUPS}.items():
        said = load(name).help
        assert said.startswith(deferred.help.rstrip(".")), name


def test_what_terminals_would_obey_is_spelled_out() -> None:
    assert printable("a\x1b[2Jb\nc\x9bd\te ü") == "a\\x1b[2Jb\\nc\\x9bd\\te ü"
