"""Daemons as real processes: started at once, started again, and ended with the platform."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from knative.local.serving import daemon as daemons
from knative.local.serving.daemon import Daemon, DaemonSpec
from tests.support.subscribers import eventually

PROGRAM = Path(__file__).parents[2] / "support" / "echo_function.py"
ROOT = Path(__file__).resolve().parents[3]

Start = Callable[..., Daemon]


@pytest.fixture
async def start(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    monkeypatch.setattr(daemons, "_FIRST_PAUSE_SECONDS", 0.01)
    started: list[Daemon] = []

    def make(*command: str, directories: tuple[Path, ...] = (), **env: str) -> Daemon:
        environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **env}
        started.append(Daemon(DaemonSpec("agent h100-1", command, environment, 5.0, directories)))
        return started[-1]

    yield make
    for daemon in started:
        await daemon.stop()


async def get(daemon: Daemon, path: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(daemon.address + path) as response:
        return json.loads(await response.read())


async def test_it_runs_at_once_and_serves_on_the_socket_that_it_is_given(start: Start, tmp_path: Path) -> None:
    daemon = start(sys.executable, str(PROGRAM), directories=(tmp_path / "var" / "lib",))
    await eventually(lambda: daemon.pid is not None)
    assert await get(daemon, "/pid") == daemon.pid
    assert (tmp_path / "var" / "lib").is_dir()


async def test_it_is_started_again_at_the_same_address_when_it_dies(start: Start) -> None:
    daemon = start(sys.executable, str(PROGRAM))
    await eventually(lambda: daemon.pid is not None)
    first = await get(daemon, "/pid")
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: daemon.pid not in (None, first))
    assert await get(daemon, "/pid") == daemon.pid


async def test_what_it_writes_and_how_it_ended_are_in_the_log(start: Start, lines: io.StringIO) -> None:
    start(sys.executable, "-c", "print('no such node'); raise SystemExit(3)")
    await eventually(lambda: "exited by itself (code 3); it is started again in" in lines.getvalue())
    assert "[agent h100-1] no such node" in lines.getvalue()


async def test_a_program_that_is_not_there_is_in_the_log(start: Start, lines: io.StringIO) -> None:
    start("/no/such/program")
    await eventually(lambda: "agent h100-1 cannot start: [Errno 2]" in lines.getvalue())


async def test_stop_ends_it(start: Start) -> None:
    daemon = start(sys.executable, str(PROGRAM))
    await eventually(lambda: daemon.pid is not None)
    pid = await get(daemon, "/pid")
    await daemon.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
