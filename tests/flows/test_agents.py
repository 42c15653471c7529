"""The agents of a laptop: one for each kind of simulated GPU node, on the DaemonSet of the base."""

from __future__ import annotations

import os
import re
import signal
import urllib.request
from pathlib import Path

import psutil
import pytest

from shared.clusters.kubeconfig import read_connection
from shared.clusters.transport import Transport
from tests.support import databases
from tests.support.running import PATIENCE_SECONDS, RunningPlatform, eventually, running

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("platform")]

KINDS = ["a100-1", "h100-1", "l4-1"]


def exporters(platform: RunningPlatform) -> dict[str, str]:
    """Where the metrics of each agent are, by its node, as the platform prints it."""
    found = re.findall(r"metrics +(http://\S+/metrics), of the agent (\S+)", platform.log())
    return {node: url for url, node in found}


def agents(platform: RunningPlatform) -> list[psutil.Process]:
    children = psutil.Process(platform.pid).children()
    return [child for child in children if child.cmdline()[1:] == ["-m", "agent"]]


def scrape(url: str) -> str:
    """The metrics; an agent that is still starting answers late."""
    with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
        text: str = answer.read().decode()
        return text


def test_each_kind_of_gpu_node_has_an_agent_with_its_gpus_that_sends_telemetry(platform: RunningPlatform) -> None:
    assert sorted(exporters(platform)) == KINDS
    text = eventually(lambda: scrape(exporters(platform)["h100-1"]), lambda text: "DCGM_FI_DEV_GPU_TEMP{" in text)
    series = [line for line in text.splitlines() if line.startswith("DCGM_FI_DEV_GPU_TEMP{")]
    assert len(series) == 8
    assert all('Hostname="h100-1"' in line and 'modelName="NVIDIA H100 80GB HBM3"' in line for line in series)
    published = re.compile(r"sentinel_agent_events_published_total ([0-9.]+)")
    eventually(lambda: published.findall(scrape(exporters(platform)["l4-1"])), lambda found: float(found[0]) >= 1)


def test_an_xid_of_a_simulated_gpu_is_a_fault_that_verification_takes(platform: RunningPlatform) -> None:
    connection = read_connection(platform.state / "clusters" / "local")
    annotated = {"metadata": {"annotations": {"sentinel.dev/xid": "3:79"}}}
    assert Transport("local", connection, loopback=True).merge("/api/v1/nodes/h100-1", annotated).ok
    taken = re.compile(r"gpu\.fault\.v1 +h100-1 +health-verification +[0-9.]+ ms  (?!.*retr)")
    eventually(platform.log, lambda log: taken.search(log) is not None)


def test_agents_do_not_outlive_a_killed_platform(migrated_data: Path, tmp_path: Path) -> None:
    databases.copy(migrated_data, tmp_path / "state" / "postgres")
    with running(tmp_path / "state") as platform:
        found = eventually(lambda: agents(platform), lambda found: len(found) == len(KINDS))
        eventually(lambda: "sentinel_agent_node_state" in scrape(exporters(platform)["l4-1"]), bool)
        os.kill(platform.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(found, timeout=20)
        assert not alive
        platform.stop()
