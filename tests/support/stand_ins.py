"""The stand-in Kubernetes API as a process of its own, which tests may kill, stop and start again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from shared.processes import PARENT_PID
from tests.support.processes import unmeasured


class StandIn:
    """One API server on a state directory. After `start` it comes back on the same port, with what it had."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._port = 0
        self.kubeconfig = Path()
        self.start()

    def start(self) -> None:
        command = ["-m", "knative.local.kubernetes", "--state", str(self._state), "--port", str(self._port)]
        environment = unmeasured(**{PARENT_PID: str(os.getpid())})
        self._process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, env=environment)
        assert self._process.stdout is not None
        found = json.loads(self._process.stdout.readline())
        self._port = int(found["server"].rsplit(":", 1)[1])
        self.kubeconfig = Path(found["kubeconfig"])

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._port

    @property
    def pid(self) -> int:
        return self._process.pid

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self._process.stdout is not None
        self._process.send_signal(number)
        self._process.wait()
        self._process.stdout.close()
