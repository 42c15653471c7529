"""One child process, on an inherited listening socket.

Spawned with posix_spawn: nothing of Python runs between fork and exec, so the spawn is safe beside threads and as short
as the platform allows. The socket is passed as systemd passes it: `LISTEN_FDS=1`, descriptor 3. The child leads a
process group of its own, so that a Ctrl-C in the terminal reaches the platform alone, which then stops its children in
order. It finds the platform's process id in `SENTINEL_PARENT_PID` and dies with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence

_MAX_LINE = 64 * 1024


class Process:
    """A running child. `exited` is done, with the exit status (negative: a signal), when it is gone."""

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        listening: socket.socket,
        output: Callable[[str], None],
    ) -> None:
        """Starts the child; `output` gets each line that it writes to stdout or stderr. Raises OSError."""
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = loop.create_future()
        read, write = os.pipe()
        try:
            self.pid = os.posix_spawnp(
                command[0],
                list(command),
                {**env, "LISTEN_FDS": "1", "SENTINEL_PARENT_PID": str(os.getpid())},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, write, 1),
                    (os.POSIX_SPAWN_DUP2, write, 2),
                    (os.POSIX_SPAWN_DUP2, listening.fileno(), 3),
                ],
                setpgroup=0,
            )
        except OSError:
            os.close(read)
            raise
        finally:
            os.close(write)
        self._reader = loop.create_task(_lines(read, output))
        threading.Thread(target=self._reap, args=(loop,), name=f"wait-{self.pid}", daemon=True).start()

    async def stop(self, grace: float) -> None:
        """SIGTERM, and SIGKILL if it is still there after `grace` seconds. Returns when it is gone and read out."""
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(asyncio.shield(self.exited), grace)
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self.exited
        # A grandchild may hold the pipe open; its lines are not worth waiting for.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._reader, 1.0)

    def _signal(self, number: signal.Signals) -> None:
        if not self.exited.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _reap(self, loop: asyncio.AbstractEventLoop) -> None:
        _, status = os.waitpid(self.pid, 0)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the platform is gone, nobody asks
            loop.call_soon_threadsafe(self.exited.set_result, os.waitstatus_to_exitcode(status))


async def _lines(descriptor: int, output: Callable[[str], None]) -> None:
    reader = asyncio.StreamReader(limit=_MAX_LINE)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    try:
        while True:
            try:
                line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    output(error.partial.decode(errors="replace"))
                return
            except asyncio.LimitOverrunError as error:
                line = await reader.readexactly(error.consumed)
            output(line.decode(errors="replace").rstrip("\r\n"))
    finally:
        transport.close()
