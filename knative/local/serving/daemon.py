"""A process that runs for as long as the platform, and is started again whenever it ends."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from knative.local.serving.output import log_output
from knative.local.serving.process import Process

_log = logging.getLogger(__name__)
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0
_SETTLED_SECONDS = 60.0


@dataclass(frozen=True)
class DaemonSpec:
    """`name` as the log shows it; `grace` is how many seconds the process has to end after SIGTERM.

    `directories` have to be there before it starts.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    grace: float
    directories: Sequence[Path] = ()


class Daemon:
    """One such process. Its listening socket stays while it is started again; without clients it costs nothing."""

    def __init__(self, spec: DaemonSpec) -> None:
        self.spec = spec
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._process: Process | None = None
        self._running = asyncio.get_running_loop().create_task(self._run())

    @property
    def pid(self) -> int | None:
        """The process, while one is running."""
        return self._process.pid if self._process else None

    async def stop(self) -> None:
        """Ends the process, and closes the socket."""
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        if self._process is not None:
            await self._process.stop(self.spec.grace)
        self._socket.close()

    async def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            started = time.monotonic()
            how = await self._once()
            if time.monotonic() - started > _SETTLED_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            _log.warning("%s %s; it is started again in %g s", self.spec.name, how, pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _once(self) -> str:
        """Runs it until it ends; how it ended."""
        try:
            for directory in self.spec.directories:
                directory.mkdir(parents=True, exist_ok=True)
            process = Process(self.spec.command, self.spec.env, self._socket, self._output)
        except OSError as error:
            return f"cannot start: {error}"
        self._process = process
        status = await asyncio.shield(process.exited)
        self._process = None
        return f"exited by itself (signal {-status})" if status < 0 else f"exited by itself (code {status})"

    def _output(self, line: str) -> None:
        log_output(self.spec.name, line)
