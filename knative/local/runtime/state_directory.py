"""What a second platform must not share with a running one: the port and the state directory.

Both are taken before anything is started, and are given back by the kernel when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path


class InUse(Exception):
    """The port or the state directory is in use, or cannot be used; the message says what to do."""


@dataclass(frozen=True)
class PlatformAddress:
    """`platform.json` in the state directory: where a running platform is found.

    `broker` is the URL of the ingress; `api` that of the REST face, None where the manifests have none.
    """

    pid: int
    broker: str
    database_url: str
    kubeconfig: str
    port: int
    api: str | None = None


class StateDirectory:
    """An exclusively held state directory; created when new."""

    def __init__(self, path: Path) -> None:
        """Raises InUse."""
        self.path = path.resolve()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise InUse(
                f"{path} cannot be used as the state directory: {error.strerror}; choose another STATE"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._lock, 32, 0).decode(errors="replace").strip()
            os.close(self._lock)
            raise InUse(
                f"{path} is in use by a running platform (pid {holder}); stop that one, or choose another STATE"
            ) from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def directory(self, name: str) -> Path:
        """A sub-directory, created when new. Raises InUse."""
        path = self.path / name
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise InUse(
                f"{path} cannot be used as a directory of the state: {error.strerror}; choose another STATE"
            ) from error
        return path

    def publish(self, published: PlatformAddress) -> None:
        """Writes `platform.json`, whole or not at all; only the owner may read it."""
        scratch = self.path / "platform.json.new"
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(published), file, indent=2)
        scratch.replace(self.path / "platform.json")

    def release(self) -> None:
        """Withdraws `platform.json`, and lets another platform have the directory."""
        (self.path / "platform.json").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.close(self._lock)


def listen(port: int) -> socket.socket:
    """A listening socket on loopback; 0 takes any free port. Raises InUse."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen(1024)
    except (OSError, OverflowError) as error:
        listening.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise InUse(f"port {port} is taken by another program; choose another PORT") from error
        raise InUse(f"port {port} cannot be used: {error}") from error
    listening.setblocking(False)
    return listening
