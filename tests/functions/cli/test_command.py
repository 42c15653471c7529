"""The command itself: which platform it works on, how it ends, what it says and what it never says."""

import os
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa

from functions.cli.errors import printable
from functions.cli.main import GROUPS, SINGLE_COMMANDS, load
from knative.local.runtime.postgres import EmbeddedPostgres
from tests.functions.cli.conftest import INSTALLED, Api, Ran, Sentinel
from tests.support.builders import Deliver

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


def test_without_a_server_or_a_database_the_fix_is_named(tmp_path: Path) -> None:
    said = "sentinel: no server is known: start one with `make run`, or `sentinel --server URL login`\n"
    assert installed(tmp_path, "get", HOME=str(tmp_path)) == Ran(1, "", said)
    said = "sentinel: no database is known: start a platform with `make run`, or set DATABASE_URL\n"
    assert installed(tmp_path, "ledger", "check") == Ran(1, "", said)


@pytest.mark.slow
def test_the_installed_command_works_on_the_platform_of_the_directory_it_is_in(
    tmp_path: Path, state: Path, deliver: Deliver
) -> None:
    deliver.submit("chat")
    state.rename(tmp_path / ".sentinel")
    ran = installed(tmp_path, "get")
    assert (ran.err, [line.split()[0] for line in ran.lines]) == ("", ["NAME", "chat"])
    assert installed(tmp_path, "ledger", "check").code == 0


def test_an_operators_command_takes_no_server(lost: Sentinel) -> None:
    ran = lost("--server", "https://sentinel.example.com", "ledger", "check")
    said = "sentinel: this command works on the database itself: give --state, or set DATABASE_URL\n"
    assert (ran.code, ran.err) == (2, said)


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


def test_an_operators_command_takes_the_state_directory_first_then_database_url(
    lost: Sentinel, state: Path, database_url: str, tmp_path: Path
) -> None:
    elsewhere = "postgresql+pg8000://nobody@127.0.0.1:1/none"
    assert lost("--state", state, "ledger", "check", DATABASE_URL=elsewhere).code == 0
    assert lost("ledger", "check", SENTINEL_STATE=str(state)).code == 0
    assert lost("ledger", "check", SENTINEL_STATE=str(tmp_path / "none"), DATABASE_URL=database_url).code == 0
    assert lost("ledger", "check", SENTINEL_STATE=str(state), DATABASE_URL=elsewhere).code == 1


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
    ran = lost("ledger", "check", DATABASE_URL=url)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith(f"sentinel: {said}")
    assert len(ran.err.splitlines()) == 1
    assert "hunter2" not in ran.err


def test_what_the_database_refuses_comes_with_the_fix(
    lost: Sentinel, postgres: EmbeddedPostgres, database_url: str
) -> None:
    def said(url: str, *arguments: str) -> str:
        ran = lost(*(arguments or ("ledger", "check")), DATABASE_URL=url)
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
            return sentinel("ledger", "check")
        finally:
            with owner_engine.begin() as connection:
                connection.execute(sa.text(back))

    deliver.submit()
    revoked = ran_after("REVOKE SELECT ON workloads FROM sentinel_app", "GRANT SELECT ON workloads TO sentinel_app")
    said = "sentinel: DATABASE_URL: the database refused: its role may not do this; use a role that is a member of"
    assert revoked.code == 1
    assert revoked.err.startswith(said)
    older = ran_after("ALTER TABLE workloads RENAME plan_id TO why", "ALTER TABLE workloads RENAME why TO plan_id")
    assert "its tables are of another version of Sentinel; run `python -m shared.store.migrate`" in older.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("xyzzy",), "No such command 'xyzzy'; see `sentinel --help`"),
        (("--bogus",), "No such option: --bogus; see `sentinel --help`"),
        (("submit",), "Missing option '-f' / '--file'; see `sentinel submit --help`"),
        (("trace",), "Missing argument 'NAME|ID'; see `sentinel trace --help`"),
        (("events",), "Missing command; see `sentinel events --help`"),
        (("get", "-o", "xml"), "Invalid value for '-o' / '--output': 'xml' is not one of 'table', 'json', 'yaml'; see"),
        (("get", "--phase", "lost"), "Invalid value for '--phase': 'lost' is not one of 'proposed', 'denied', "),
        (("get", "--limit", "0"), "Invalid value for '--limit': 0 is not in the range "),
    ],
)
def test_a_command_that_is_not_understood_is_one_line_and_code_2(
    lost: Sentinel, arguments: tuple[str, ...], said: str
) -> None:
    ran = lost(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"sentinel: {said}")
    assert len(ran.err.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("arguments", [("cluster", "orphans"), ("cluster", "orphans", "-o", "json"), ("--help",)])
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


def test_a_command_that_reads_imports_neither_models_nor_the_store(api: Api, deliver: Deliver) -> None:
    deliver.submit("chat")
    script = (
        f"import os; os.environ |= {{'SENTINEL_SERVER': {api.url!r}, 'SENTINEL_TOKEN': 'admin'}}; "
        "from typer.main import get_group; from functions.cli.main import app; "
        "get_group(app).main(['get'], standalone_mode=False)"
    )
    heavy = ("pydantic", "sqlalchemy", "rich", "yaml", "urllib3", "email.mime", "asyncio", "tomllib", "tomlkit")
    ours = ("events", "shared.store", "shared.policy", "shared.rollout", "shared.operations", "shared.eventing")
    assert imported(script, "functions.cli.client", *heavy, *ours)[-1:] == ["functions.cli.client"]


def test_the_list_of_commands_says_what_each_says_of_itself() -> None:
    for name, deferred in {**SINGLE_COMMANDS, **GROUPS}.items():
        said = load(name).help
        assert said.startswith(deferred.help.rstrip(".")), name


def test_what_terminals_would_obey_is_spelled_out() -> None:
    assert printable("a\x1b[2Jb\nc\x9bd\te ü") == "a\\x1b[2Jb\\nc\\x9bd\\te ü"
