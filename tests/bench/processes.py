"""Starts a server as a process and measures how long it takes until it has answered its first request."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_PATIENCE_SECONDS = 60.0
_RETRY_SECONDS = 0.0005
_LISTEN_FD = 3
_HELLO = Path(__file__).with_name("hello.py")


@dataclass(frozen=True)
class Request:
    """A POST; headers as they go out."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class First:
    """The first answer of a process; header names are lower-case. seconds: from before the exec to its last byte."""

    seconds: float
    headers: Mapping[str, str]
    body: bytes


def first_of_function(name: str, request: Request, env: Mapping[str, str], *options: str, stderr: Path) -> First:
    """`python -m functions.serve <name>` on an inherited socket, as the platform starts it.

    options: for the interpreter. Raises RuntimeError for an answer that is not 2xx.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        command = [sys.executable, *options, "-m", "functions.serve", name]
        started = time.perf_counter()
        pid = os.posix_spawn(
            sys.executable,
            command,
            {**_base_environment(), **env, "LISTEN_FDS": "1", "SENTINEL_PARENT_PID": str(os.getpid())},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, str(stderr), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
                (os.POSIX_SPAWN_DUP2, listener.fileno(), _LISTEN_FD),
            ],
        )
        try:
            return _first(listener.getsockname()[1], request, started, stderr)
        finally:
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)


def first_of_hello(stderr: Path) -> First:
    """The bare function, started by functions-framework's own command."""
    port = _free_port()
    command = [str(Path(sys.executable).with_name("functions-framework")), "--asgi", "--target", "hello"]
    command += ["--source", str(_HELLO), "--host", "127.0.0.1", "--port", str(port)]
    with stderr.open("wb") as log:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=log, env=_base_environment())
        try:
            return _first(port, Request({"content-type": "text/plain"}, b"hello"), started, stderr)
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def standin(state: Path) -> Iterator[Path]:
    """A stand-in Kubernetes API; its kubeconfig."""
    process = subprocess.Popen(
        [sys.executable, "-m", "knative.local.kubernetes", "--state", str(state)],
        stdout=subprocess.PIPE,
        env={**_base_environment(), "SENTINEL_PARENT_PID": str(os.getpid())},
    )
    try:
        assert process.stdout is not None  # piped
        if not process.stdout.readline().startswith(b'{"server"'):
            raise RuntimeError("the stand-in Kubernetes API did not start")
        yield state / "kubeconfig"
    finally:
        process.terminate()
        process.wait()


def _first(port: int, request: Request, started: float, log: Path) -> First:
    connection = _connected(port, started)
    try:
        connection.request("POST", "/", request.body, dict(request.headers))
        answer = connection.getresponse()
        body = answer.read()
        seconds = time.perf_counter() - started
    except (OSError, http.client.HTTPException) as error:
        raise RuntimeError(f"no answer ({error}): {log.read_text(errors='replace')[-2000:]}") from error
    finally:
        connection.close()
    if answer.status >= 300:
        raise RuntimeError(f"answered {answer.status}: {body[:500]!r} {log.read_text(errors='replace')[-2000:]}")
    return First(seconds, {name.lower(): value for name, value in answer.getheaders()}, body)


def _connected(port: int, started: float) -> http.client.HTTPConnection:
    """A connection, as soon as there is one to be had."""
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_SECONDS)
        try:
            connection.connect()
        except ConnectionRefusedError:
            connection.close()
            if time.perf_counter() - started > _PATIENCE_SECONDS:
                raise RuntimeError(f"nothing listens on port {port}") from None
            time.sleep(_RETRY_SECONDS)
        else:
            return connection


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _base_environment() -> dict[str, str]:
    """Byte code is written, whatever the shell says: without it, every cold start would compile."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
