"""The agent as a process: what it sends, serves and keeps, how it ends, and how much memory it has."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.events import FAULT, TELEMETRY
from tests.support import brokers, kubelet
from tests.support.brokers import Broker
from tests.support.nvml.script import NvmlScript, uuid_of

pytestmark = pytest.mark.xdist_group("nvml")  # the library is compiled once

SCRIPT = {
    "driver": "580.95.05",
    "gpus": [{"gpu": "GPU-0", "index": 0, "product": "NVIDIA H100 80GB HBM3", "load": 0.8}],
    "xids": [{"gpu": "GPU-0", "xid": 79, "at": "0s"}],
}
LIMIT_MIB = 50
"""It may have 60; Kafka's client takes 7 of them."""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "gpus.json"
    path.write_text(json.dumps(SCRIPT))
    return path


@pytest.fixture
def broker() -> Iterator[Broker]:
    with brokers.serving() as broker:
        yield broker


class Agent:
    """A process; `port` is where it serves."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        assert process.stderr is not None
        for line in process.stderr:
            self.said.append(line)
            if "metrics at " in line:
                self.port = int(line.rpartition(":")[2])
                return
        raise AssertionError("".join(self.said))

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, body

    def end(self, sign: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(sign)
        return self.process.wait(20)

    @property
    def resident_mib(self) -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


Start = Callable[..., Agent]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts agents with these variables, and ends them."""
    started: list[subprocess.Popen[str]] = []

    def start(**variables: object) -> Agent:
        process = subprocess.Popen(
            [sys.executable, "-m", "agent"], env=environment(tmp_path, variables), stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return Agent(process)

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def environment(state: Path, variables: dict[str, object]) -> dict[str, str]:
    ours = {
        "NODE_NAME": "gpu-0",
        "EXPORTER_ADDRESS": "127.0.0.1:0",
        "AGENT_STATE_DIR": state / "state",
        "POD_RESOURCES_SOCKET": state / "no.sock",
        "SAMPLE_INTERVAL": "1s",
    }
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, **{name: str(value) for name, value in (ours | variables).items()}}


def until(holds: Callable[[], Any]) -> None:
    limit = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.01)


def types(broker: Broker) -> Sequence[str]:
    return [event.type for event in broker.events]


def test_it_sends_readings_and_faults_and_sigterm_ends_it(start: Start, script: Path, broker: Broker) -> None:
    agent = start(GPU_SCRIPT=script, K_SINK=broker.url)
    until(lambda: {TELEMETRY, FAULT} <= set(types(broker)))
    assert agent.get("/readyz")[0] == 200
    text = agent.get("/metrics")[1]
    assert 'sentinel_agent_standing_faults{UUID="GPU-0",blame="gpu",kind="xid",xid="79"} 1' in text
    until(
        lambda: "sentinel_agent_events_waiting 0" in agent.get("/metrics")[1]
    )  # the fault is settled after its answer
    assert agent.end() == 0


@pytest.mark.slow
def test_what_waited_is_sent_when_it_ends_and_what_the_sink_did_not_take_after_the_next_start(
    start: Start, script: Path, broker: Broker
) -> None:
    broker.status = 503
    settings = {"GPU_SCRIPT": script, "K_SINK": broker.url}
    agent = start(**settings)
    until(lambda: "sentinel_agent_events_waiting 0" not in agent.get("/metrics")[1])
    assert agent.end() == 0
    assert broker.events == []
    broker.status = 202
    again = start(**settings)
    until(lambda: len(broker.events) > 2)
    assert types(broker)[:2] == [TELEMETRY, FAULT]
    assert types(broker).count(FAULT) == 1
    assert again.end() == 0


@pytest.mark.slow
def test_a_driver_that_hangs_does_not_hold_up_the_end(
    start: Start, compiled_nvml: Path, driver: NvmlScript, broker: Broker
) -> None:
    driver.hangs("gpu0", "nvmlDeviceGetUtilizationRates")
    agent = start(LD_LIBRARY_PATH=compiled_nvml.parent, K_SINK=broker.url)
    began = time.monotonic()
    assert agent.end() == 0
    assert time.monotonic() - began < 15


@pytest.mark.slow
def test_the_whole_agent_stays_within_its_memory(
    start: Start, compiled_nvml: Path, driver: NvmlScript, broker: Broker
) -> None:
    with tempfile.TemporaryDirectory() as directory, kubelet.serving(Path(directory) / "kubelet.sock") as node:
        node.say(("search", "web", "main", "nvidia.com/gpu", uuid_of(0)))
        settings = {
            "LD_LIBRARY_PATH": compiled_nvml.parent,
            "K_SINK": broker.url,
            "POD_RESOURCES_SOCKET": Path(directory) / "kubelet.sock",
        }
        compiling = start(**settings)  # an agent that compiles what it imports has 20 MiB more
        until(lambda: broker.events)
        compiling.end()
        broker.events.clear()
        agent = start(**settings)
        until(lambda: len(broker.events) > 2)
        text = agent.get("/metrics")[1]
        assert 'pod="web"' in text
        assert agent.resident_mib <= LIMIT_MIB
