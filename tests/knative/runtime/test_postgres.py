"""The embedded PostgreSQL as a child process: killed, orphaned, started twice, started in the wrong place."""

import json
import os
import pwd
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from knative.local.runtime import postgres as embedded
from knative.local.runtime.postgres import EmbeddedPostgres
from shared.errors import ConfigurationError
from shared.store.database import connect

ROOT = Path(__file__).parents[3]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that the server's user can enter."""
    with tempfile.TemporaryDirectory(prefix="sentinel-place-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


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
        assert psutil.Process(server.pid).username() != "root"
        socket_directory = Path(server.url.partition("unix_sock=")[2]).parent
        assert socket_directory.stat().st_mode & 0o777 == 0o700
    assert not socket_directory.exists()
    assert not server.exited()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.pid
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.url


def test_what_was_committed_survives_sigkill_and_a_stale_pid_file(place: Path) -> None:
    server = EmbeddedPostgres(place, durable=True)
    server.start()
    try:
        execute(server, "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (7)")
        os.kill(server.pid, signal.SIGKILL)
        gone(server.pid)
        assert server.exited()
        assert (place / "data" / "postmaster.pid").exists()
    finally:
        server.stop()
    with EmbeddedPostgres(place, durable=False) as again:
        assert execute(again, "SELECT x FROM kept") == [7]


def test_a_second_start_on_a_running_directory_says_so_and_harms_nothing(place: Path) -> None:
    with EmbeddedPostgres(place, durable=False) as first:
        second = EmbeddedPostgres(place, durable=False)
        with pytest.raises(RuntimeError, match=r"PostgreSQL stopped while starting: .*postmaster\.pid"):
            second.start()
        assert not second.exited()
        assert execute(first, "SELECT 1") == [1]


def test_it_dies_with_a_parent_that_is_killed(place: Path) -> None:
    program = (
        "import json, pathlib, sys\n"
        "from knative.local.runtime.postgres import EmbeddedPostgres\n"
        "server = EmbeddedPostgres(pathlib.Path(sys.argv[1]), durable=False)\n"
        "server.start()\n"
        "print(json.dumps(server.pid), flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(place)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    with parent.stdout, parent.stdin:
        pid = json.loads(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
        parent.wait()
    gone(pid)
    with EmbeddedPostgres(place, durable=False) as again:
        assert execute(again, "SELECT 1") == [1]


def test_an_initdb_that_was_cut_off_is_begun_anew(place: Path) -> None:
    unfinished = place / "data.new"
    (unfinished / "base").mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(place, durable=False) as server:
        assert execute(server, "SELECT 1") == [1]
    assert not unfinished.exists()


def test_an_initdb_that_fails_leaves_nothing_that_looks_finished(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "OWNER", "pg_reserved")  # initdb refuses names that begin with pg_
    with pytest.raises(RuntimeError, match=r"initdb failed: .*pg_reserved"):
        EmbeddedPostgres(place, durable=False).start()
    assert list(place.iterdir()) == []


def test_a_broken_data_directory_is_told_in_the_servers_words(place: Path) -> None:
    with EmbeddedPostgres(place, durable=False):
        pass
    (place / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(RuntimeError, match=r"PostgreSQL stopped while starting: .*initialized by PostgreSQL version 9"):
        EmbeddedPostgres(place, durable=False).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to another user")
def test_as_root_a_directory_that_the_other_user_cannot_enter_is_named(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ConfigurationError, match=rf"cannot enter {closed}; run as an ordinary user"):
        EmbeddedPostgres(closed / "state", durable=False).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_an_ordinary_user_runs_it_as_themselves(place: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(place, nobody.pw_uid, nobody.pw_gid)
    program = (
        "import os, pathlib, sys\n"
        "from knative.local.runtime.postgres import EmbeddedPostgres\n"
        "server = EmbeddedPostgres(pathlib.Path(sys.argv[1]), durable=False)\n"
        "os.setgroups([]), os.setgid(int(sys.argv[3])), os.setuid(int(sys.argv[2]))\n"
        "with server:\n"
        "    print(os.stat(f'/proc/{server.pid}').st_uid)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(place), str(nobody.pw_uid), str(nobody.pw_gid)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(nobody.pw_uid)), done.stderr
