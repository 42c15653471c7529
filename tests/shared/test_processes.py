"""Children that die with their parent."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from shared import processes

ROOT = Path(__file__).parents[2]
CHILD = (
    "import sys, time\n"
    "from shared.processes import follow_parent\n"
    "follow_parent()\n"
    "print('following', flush=True)\n"
    "sys.stdin.read()\n"
    "time.sleep(60)\n"
)
PARENT = (
    "import os, subprocess, sys\n"
    "environment = {**os.environ, 'SENTINEL_PARENT_PID': str(os.getpid())}\n"
    "child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], env=environment, stdin=subprocess.DEVNULL,\n"
    "                         stdout=subprocess.PIPE, text=True)\n"
    "child.stdout.readline()\n"
    "print(child.pid, flush=True)\n"
    "sys.stdin.read()\n"
)


def run_child(**variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != processes.PARENT_PID}
    program = CHILD.replace("time.sleep(60)\n", "")
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**environment, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.slow
def test_a_child_dies_with_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    with parent.stdin, parent.stdout:
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
        parent.wait()
    child.wait(timeout=10)


def test_without_a_named_parent_it_goes_on() -> None:
    assert run_child().stdout == "following\n"
    assert run_child(SENTINEL_PARENT_PID="").stdout == "following\n"
    assert run_child(SENTINEL_PARENT_PID=str(os.getpid())).stdout == "following\n"


def test_a_parent_that_is_gone_already_ends_it_at_once() -> None:
    done = run_child(SENTINEL_PARENT_PID="1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_off_linux_an_orphan_ends_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert processes.die_with_parent_hook() is None
    monkeypatch.setenv(processes.PARENT_PID, str(os.getppid()))
    before = threading.active_count()
    processes.follow_parent()  # a watching thread, as a daemon: it ends with this process
    assert threading.active_count() == before + 1
    received = threading.Event()
    previous = signal.signal(signal.SIGTERM, lambda *_: received.set())
    try:
        processes._exit_when_orphaned(os.getppid() + 1)
        assert received.wait(5)
    finally:
        signal.signal(signal.SIGTERM, previous)
