"""The short-lived directory of a running PostgreSQL: its socket, and its programs where they had to be copied.

A Unix socket's path may have 107 bytes (sockaddr_un, unix(7)), so it lies below a temporary directory and not in the
state directory. A process that is killed leaves its run directory behind; the next start removes it. A run directory in
use is locked, and the kernel gives the lock back when its holder ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from knative.local.runtime.accounts import SystemAccount
from shared.errors import ConfigurationError

_PREFIX = "sentinel-pg-"
_LOCK = "lock"
_SOCKET = ".s.PGSQL.5432"
_MAX_SOCKET_BYTES = 103  # of macOS; Linux takes 107
_ELSEWHERE = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 (mkdtemp makes a directory that is new and private)


class RunDirectory:
    """A new run directory for a server under `account`, which `runs` programs from it or only makes its socket there.

    Raises ConfigurationError where there is no place for one.
    """

    def __init__(self, account: SystemAccount, *, runs: bool) -> None:
        self.path = _make(account, runs)
        self._lock = _locked(self.path)
        self.socket_directory = self.path / "s"
        self.socket_directory.mkdir(mode=0o700)
        account.own(self.socket_directory)

    @property
    def socket(self) -> Path:
        return self.socket_directory / _SOCKET

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def is_held(path: Path) -> bool:
    """Whether the process that made the run directory `path` is there."""
    try:
        descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _make(account: SystemAccount, runs: bool) -> Path:
    """Below the first temporary directory that has a short path, that the account can enter, and run programs from."""
    places = [Path(place) for place in dict.fromkeys((tempfile.gettempdir(), *_ELSEWHERE))]
    for place in places:
        with contextlib.suppress(OSError):
            _remove_abandoned(place)
            made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
            made.chmod(0o711)  # others may pass to what is theirs below it, and not look around
            short = len(os.fsencode(made / "s" / _SOCKET)) <= _MAX_SOCKET_BYTES
            if short and account.passes(made) and not (runs and os.statvfs(made).f_flag & os.ST_NOEXEC):
                return made
            made.rmdir()
    raise ConfigurationError(
        f"there is no temporary directory for PostgreSQL: {', '.join(map(str, places))} cannot be written, cannot be "
        "entered by its user, or have too long a path; set TMPDIR to a short one that everybody may enter"
    )


def _locked(path: Path) -> int:
    """Takes the lock before it has its name, so that nobody finds it free on the way."""
    unfinished = path / f"{_LOCK}.new"
    descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    unfinished.rename(path / _LOCK)
    return descriptor


def _remove_abandoned(place: Path) -> None:
    for path in place.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if path.lstat().st_uid != os.geteuid():
                continue
            descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)
