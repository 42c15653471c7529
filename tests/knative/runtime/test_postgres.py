"""The embedded PostgreSQL as a child process: killed, orphaned, started twice, started in the wrong place."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from knative.local.runtime import installation, postgres
from knative.local.runtime.accounts import SystemAccount, server_account
from knative.local.runtime.postgres import EmbeddedPostgres
from shared.errors import ConfigurationError
from shared.store.database import connect
from tests.support import databases

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]

needs_root = pytest.mark.skipif(
    server_account().user is None, reason="needs root with the capabilities to become another user"
)
needs_readable_checkout = pytest.mark.skipif(
    not all(SystemAccount(user=pwd.getpwnam("nobody")).passes(Path(path)) for path in (ROOT, sys.prefix)),
    reason="needs a checkout that other users can enter",
)
needs_user_namespaces = pytest.mark.skipif(
    not SystemAccount(namespace=True).works(), reason="needs a kernel and a seccomp profile that allow user namespaces"
)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user can enter."""
    with tempfile.TemporaryDirectory(prefix="sentinel-place-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def prepared(place: Path, migrated_data: Path) -> Path:
    """The same with a data directory, for tests that are not about how `initdb` makes one."""
    databases.copy(migrated_data, place)
    return place


def execute(server: EmbeddedPostgres, *statements: str) -> list[object]:
    """Runs statements as the owner; the first column of what the last one returns."""
    engine = connect(server.owner_url)
    try:
        with engine.begin() as connection:
            for statement in statements:
                result = connection.execute(sa.text(statement))
            return list(result.scalars()) if result.returns_rows else []
    finally:
        engine.dispose()


def gone(pid: int) -> None:
    """Returns once a process is gone; fails after ten seconds."""
    try:
        psutil.Process(pid).wait(timeout=10)
    except psutil.NoSuchProcess:
        return


def test_it_is_a_server_of_its_own_without_a_port(place: Path) -> None:
    server = EmbeddedPostgres(place / "new" / "postgres", durable=False)
    with server:
        assert execute(server, "SHOW listen_addresses") == [""]
        assert execute(server, "SHOW timezone") == ["UTC"]
        assert execute(server, "SELECT datcollate FROM pg_database WHERE datname = 'sentinel'") == ["C.UTF-8"]
        assert execute(server, "SELECT rolname FROM pg_roles WHERE rolcanlogin ORDER BY 1") == [
            "sentinel",
            "sentinel_owner",
        ]
        assert not server.exited()
        assert psutil.Process(server.pid).uids().effective != 0 or server_account().namespace
        socket_directory = Path(server.url.partition("unix_sock=")[2]).parent
        assert socket_directory.stat().st_mode & 0o777 == 0o700
    assert not socket_directory.exists()
    assert not server.exited()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.pid
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.url


def test_what_was_committed_survives_sigkill_and_a_stale_pid_file(prepared: Path) -> None:
    server = EmbeddedPostgres(prepared, durable=True)
    server.start()
    try:
        execute(server, "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (7)")
        os.kill(server.pid, signal.SIGKILL)
        gone(server.pid)
        assert server.exited()
        assert (prepared / "data" / "postmaster.pid").exists()
    finally:
        server.stop()
    with EmbeddedPostgres(prepared, durable=False) as again:
        assert execute(again, "SELECT x FROM kept") == [7]


def test_a_second_start_on_a_running_directory_says_so_and_harms_nothing(prepared: Path) -> None:
    with EmbeddedPostgres(prepared, durable=False) as first:
        second = EmbeddedPostgres(prepared, durable=False)
        with pytest.raises(RuntimeError, match=r"PostgreSQL stopped while starting: .*postmaster\.pid"):
            second.start()
        assert not second.exited()
        assert execute(first, "SELECT 1") == [1]


def test_it_dies_with_a_parent_that_is_killed(prepared: Path) -> None:
    pid, parent = started_by_another(prepared)
    assert psutil.pid_exists(pid)
    parent.kill()
    parent.wait()
    gone(pid)
    with EmbeddedPostgres(prepared, durable=False) as again:
        assert execute(again, "SELECT 1") == [1]


@pytest.mark.parametrize("everything", [False, True])
def test_a_start_right_after_a_kill_waits_for_the_old_server_to_go(
    everything: bool, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Suspended, the old processes take as long as they are given: until the new server says that it waits."""
    pid, parent = started_by_another(prepared)
    server = psutil.Process(pid)
    left = server.children()[0] if everything else server
    left.suspend()
    if everything:
        server.kill()
    parent.kill()
    parent.wait()
    said: list[str] = []

    def say(message: str) -> None:
        said.append(message)
        left.resume()

    monkeypatch.setattr(postgres._log, "warning", say)
    with EmbeddedPostgres(prepared, durable=False) as again:
        assert execute(again, "SELECT 1") == [1]
    assert said == ["waiting for the PostgreSQL of an earlier run, which was killed, to go"]


def test_an_old_server_that_does_not_go_is_not_waited_for_for_ever(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid, parent = started_by_another(prepared)
    server = psutil.Process(pid)
    server.suspend()
    parent.kill()
    parent.wait()
    monkeypatch.setattr(postgres, "_PREDECESSOR_SECONDS", 0.0)
    try:
        with pytest.raises(RuntimeError, match=r"PostgreSQL stopped while starting: .*postmaster\.pid"):
            EmbeddedPostgres(prepared, durable=False).start()
    finally:
        server.resume()
    gone(pid)


def started_by_another(place: Path) -> tuple[int, subprocess.Popen[bytes]]:
    """The pid of a server that a process started, and that process."""
    program = (
        "import pathlib, signal, sys\n"
        "from knative.local.runtime.postgres import EmbeddedPostgres\n"
        "server = EmbeddedPostgres(pathlib.Path(sys.argv[1]), durable=False)\n"
        "server.start()\n"
        "print(server.pid, flush=True)\n"
        "signal.pause()\n"
    )
    command = [sys.executable, "-c", program, str(place)]
    parent = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout:
        pid = int(parent.stdout.readline())
    return pid, parent


def test_an_initdb_that_was_cut_off_is_begun_anew(place: Path) -> None:
    unfinished = place / "data.new"
    (unfinished / "base").mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(place, durable=False) as server:
        assert execute(server, "SELECT 1") == [1]
    assert not unfinished.exists()


def test_an_initdb_that_fails_leaves_nothing_that_looks_finished(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "OWNER", "pg_reserved")  # initdb refuses names that begin with pg_
    with pytest.raises(RuntimeError, match=r"initdb failed: .*pg_reserved"):
        EmbeddedPostgres(place, durable=False).start()
    assert list(place.iterdir()) == []


def test_a_broken_data_directory_is_told_in_the_servers_words(prepared: Path) -> None:
    with EmbeddedPostgres(prepared, durable=False):
        pass
    (prepared / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(RuntimeError, match=r"PostgreSQL stopped while starting: .*initialized by PostgreSQL version 9"):
        EmbeddedPostgres(prepared, durable=False).start()


def start_in_a_process(place: Path, *, prepare: str = "", prefix: Sequence[str] = ()) -> str:
    """Starts and stops a server in a Python of its own; the user id that the server had, as the kernel sees it."""
    program = (
        "import os, pathlib, sys\n"
        "from knative.local.runtime.postgres import EmbeddedPostgres\n"
        "server = EmbeddedPostgres(pathlib.Path(sys.argv[1]), durable=False)\n"
        f"{prepare}\n"
        "with server:\n"
        "    print(os.stat(f'/proc/{server.pid}').st_uid)\n"
    )
    done = subprocess.run(
        [*prefix, sys.executable, "-c", program, str(place)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def become(uid: int, gid: int) -> str:
    return f"os.setgroups([]), os.setgid({gid}), os.setuid({uid})"


@needs_root
def test_as_root_the_data_may_be_where_nobody_else_can_enter(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "state", durable=False)
    with server:
        assert psutil.Process(server.pid).username() != "root"
        execute(server, "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (7)")
    with server:
        assert execute(server, "SELECT x FROM kept") == [7]
        with pytest.raises(RuntimeError, match=f'data directory "{closed}/state/data"'):
            EmbeddedPostgres(closed / "state", durable=False).start()
    assert closed.stat().st_mode & 0o777 == 0o700


@needs_root
def test_as_root_the_programs_may_be_where_nobody_else_can_enter(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(postgres, "installed", lambda: installation.installed().copied_to(closed))
    server = EmbeddedPostgres(place / "state", durable=False)
    with server:
        assert psutil.Process(server.pid).username() != "root"
        assert not psutil.Process(server.pid).exe().startswith(str(closed))
        assert execute(server, "SELECT x FROM generate_series(1, 1) AS x") == [1]
        run_directory = Path(server.url.partition("unix_sock=")[2]).parents[1]
    assert not run_directory.exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a $HOME, q'u\"o`t\\e, 100%, Zürich, 東京", "deep/" * 80 + "er"])
def test_its_data_and_its_programs_may_have_any_path(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "installed", lambda: installation.installed().copied_to(place / "programs" / name))
    with EmbeddedPostgres(place / "state" / name, durable=False) as server:
        assert execute(server, "SELECT 1") == [1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a, b", "d" * 90])
def test_the_temporary_directory_may_have_any_path(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place / name))
    with EmbeddedPostgres(place / "state", durable=False) as server:
        assert execute(server, "SELECT 1") == [1]


@needs_root
def test_as_root_the_temporary_directory_may_be_closed_to_others(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "tmp").mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(place / "tmp"))
    with EmbeddedPostgres(place / "state", durable=False) as server:
        assert execute(server, "SELECT 1") == [1]


def test_a_run_directory_that_a_killed_process_left_is_removed_by_the_next(place: Path) -> None:
    program = (
        "import os, signal\n"
        "from knative.local.runtime.accounts import server_account\n"
        "from knative.local.runtime.run_directory import RunDirectory\n"
        "print(RunDirectory(server_account(), runs=False).path, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "TMPDIR": str(place)}
    command = [sys.executable, "-c", program]
    first = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    assert list(place.iterdir()) == [Path(first.stdout.strip())]
    second = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    assert list(place.iterdir()) == [Path(second.stdout.strip())]
    assert first.stdout != second.stdout


@needs_root
@needs_readable_checkout
def test_an_ordinary_user_runs_it_as_themselves(place: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(place, nobody.pw_uid, nobody.pw_gid)
    assert start_in_a_process(place, prepare=become(nobody.pw_uid, nobody.pw_gid)) == str(nobody.pw_uid)


@needs_root
@needs_readable_checkout
@needs_user_namespaces
def test_a_user_whom_the_machine_has_no_name_for_runs_it_too(place: Path) -> None:
    os.chown(place, 54_321, 54_321)
    assert start_in_a_process(place, prepare=become(54_321, 54_321)) == "54321"


@pytest.mark.slow
@needs_root
@needs_user_namespaces
@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv of util-linux to give up capabilities")
def test_root_without_capabilities_runs_it_below_a_closed_directory_and_with_capabilities_again(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    without = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]
    assert start_in_a_process(closed, prefix=without) == "0"
    assert start_in_a_process(closed, prefix=without) == "0"
    assert start_in_a_process(closed) != "0"
    with pytest.raises(
        AssertionError, match=r"belongs to the user id \d+, and PostgreSQL runs under 0 here; run chown -R"
    ):
        start_in_a_process(closed, prefix=without)


@pytest.mark.parametrize(
    ("uid", "advice"), [(0, "run as an ordinary user, for instance with"), (54_321, "add the user id to /etc/passwd")]
)
def test_where_nothing_is_left_the_error_says_what_would_help(
    uid: int, advice: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(SystemAccount, "works", lambda _: False)
    with pytest.raises(ConfigurationError, match=advice):
        EmbeddedPostgres(place, durable=False).start()
