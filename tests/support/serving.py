"""Starts a function as its own process, on a listening socket that it inherits, and talks HTTP to it."""

import http.client
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Served:
    """A running function: its process, its port, and the file with what it writes."""

    pid: int
    port: int
    output: Path

    def request(
        self, method: str, path: str = "/", headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers with lower-case names, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body or None, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def terminate(self) -> int:
        """SIGTERM; the exit code (negative: a signal)."""
        os.kill(self.pid, signal.SIGTERM)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def environment(**variables: str) -> dict[str, str]:
    """This process's environment with these variables; nothing of the tests' own start protocol."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("LISTEN_FDS", "PORT", "SENTINEL_PARENT_PID")}
    return {**inherited, "PYTHONPATH": str(ROOT), **variables}


@contextmanager
def served(command: list[str], directory: Path, **variables: str) -> Iterator[Served]:
    """`python -m functions.serve <command>` on an inherited socket, as the laptop platform starts it."""
    output = directory / "output"
    listener = socket.create_server(("127.0.0.1", 0))
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "functions.serve", *command],
        environment(LISTEN_FDS="1", SENTINEL_PARENT_PID=str(os.getpid()), **variables),
        file_actions=[
            (os.POSIX_SPAWN_DUP2, descriptor, 1),
            (os.POSIX_SPAWN_DUP2, descriptor, 2),
            (os.POSIX_SPAWN_DUP2, listener.fileno(), 3),
        ],
    )
    os.close(descriptor)
    port = listener.getsockname()[1]
    listener.close()  # the child has it now: a request is refused, not left waiting, when it cannot start
    running = Served(pid, port, output)
    try:
        yield running
    finally:
        _end(pid)


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return
