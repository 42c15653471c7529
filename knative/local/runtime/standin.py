"""The stand-in Kubernetes API as a child process of the platform."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

from knative.local.serving.output import log_output

_START_SECONDS = 30.0
_STOP_GRACE_SECONDS = 10.0
_WAIT_SECONDS = 15.0  # for one whose platform was killed a moment ago


class StandInFailed(Exception):
    """The stand-in API did not come up; its last words are in the message."""


class StandInApi:
    """`python -m knative.local.kubernetes`, on one port for as long as the platform lives."""

    def __init__(self, state: Path, nodes: str) -> None:
        self._state = state
        self._nodes = nodes
        self._process: asyncio.subprocess.Process | None = None
        self._output: asyncio.Task[None] | None = None
        self._port = 0
        self.kubeconfig = Path()

    async def start(self) -> None:
        """Returns when it takes requests. A second start takes the port of the first. Raises StandInFailed."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "knative.local.kubernetes", "--state", str(self._state)),
            *("--port", str(self._port), "--nodes", self._nodes, "--wait", str(_WAIT_SECONDS)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "SENTINEL_PARENT_PID": str(os.getpid())},
            process_group=0,
        )
        try:
            async with asyncio.timeout(_START_SECONDS):
                address = await self._ready(self._process)
        except TimeoutError:
            await self.stop()
            raise StandInFailed(f"the stand-in Kubernetes API did not start within {_START_SECONDS:g} s") from None
        self._port = int(address["server"].rsplit(":", 1)[1])
        self.kubeconfig = Path(address["kubeconfig"])
        self._output = asyncio.create_task(self._pass_on(self._process))

    async def exited(self) -> int:
        """Waits for the process to end; its exit status."""
        assert self._process is not None, "start() comes first"
        return await self._process.wait()

    async def stop(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_GRACE_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        if self._output is not None:
            await self._output

    async def _ready(self, process: asyncio.subprocess.Process) -> dict[str, str]:
        assert process.stdout is not None  # piped
        said: list[str] = []
        async for raw in process.stdout:
            line = raw.decode(errors="replace").strip()
            if line.startswith('{"server"'):
                address: dict[str, str] = json.loads(line)
                return address
            said.append(line)
        await process.wait()
        raise StandInFailed(f"the stand-in Kubernetes API did not start: {' / '.join(said[-4:]) or 'no output'}")

    async def _pass_on(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # piped
        async for raw in process.stdout:
            log_output("kubernetes", raw.decode(errors="replace").rstrip())
