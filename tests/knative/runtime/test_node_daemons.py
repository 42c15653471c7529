"""DaemonSets on the nodes of the stand-in API: real processes, beside a real API server."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from knative.local.cluster.client import ClusterApi, cluster_api
from knative.local.resources import loader
from knative.local.runtime import node_daemons
from knative.local.runtime.node_daemons import NodeDaemons
from tests.knative.resources.test_loader import DAEMON_SET, TO_DAEMON_SET, changed
from tests.support import platforms
from tests.support.stand_ins import StandIn
from tests.support.subscribers import eventually

CONTAINER = "spec.template.spec.containers.0"
KINDS = ["a100-1", "h100-1", "l4-1"]


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Any:
    stand_in = StandIn(tmp_path_factory.mktemp("kubernetes"))
    yield stand_in.kubeconfig
    stand_in.end()


@pytest.fixture
async def cluster(kubeconfig: Path) -> AsyncIterator[ClusterApi]:
    async with cluster_api(kubeconfig) as found:
        yield found


@asynccontextmanager
async def running(directory: Path, kubeconfig: Path) -> AsyncIterator[NodeDaemons]:
    daemon_set = changed(DAEMON_SET, "metadata.namespace", "sentinel")
    daemon_set = changed(daemon_set, f"{CONTAINER}.command", ["python", str(platforms.FUNCTION)])
    node_name = {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    daemon_set = changed(daemon_set, f"{CONTAINER}.env", [node_name, {"name": "STATE", "value": "/v/spool"}])
    binding = changed(platforms.SINK_BINDING, "spec.subject", TO_DAEMON_SET)
    manifests = loader.load(platforms.write(directory / "manifests", daemon_set, binding))
    settings = {"LOG_FORMAT": "text"}
    daemons = NodeDaemons(manifests, kubeconfig, "http://127.0.0.1:9", directory / "n", settings, all_simulated=True)
    started = asyncio.Event()
    following = asyncio.create_task(daemons.run(started))
    await started.wait()
    try:
        yield daemons
    finally:
        following.cancel()
        await asyncio.wait([following])
        await daemons.stop()


def script(directory: Path, node: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "n" / node / "gpus.json").read_text())
    return found


@pytest.mark.slow
async def test_one_process_a_kind_of_gpu_node_with_its_name_its_directory_and_the_broker(
    tmp_path: Path, kubeconfig: Path
) -> None:
    async with running(tmp_path, kubeconfig) as daemons:
        assert sorted(daemons.addresses()) == [f"d {node}" for node in KINDS]
        url = daemons.addresses()["d h100-1"]
        async with aiohttp.ClientSession() as session, session.get(f"{url}/env") as response:
            env = json.loads(await response.read())
    assert (env["NODE"], env["LOG_FORMAT"]) == ("h100-1", "text")
    assert env["K_SINK"] == "http://127.0.0.1:9/sentinel/default"
    assert env["STATE"] == str(tmp_path / "n" / "h100-1" / "v" / "spool")
    assert env["GPU_SCRIPT"] == str(tmp_path / "n" / "h100-1" / "gpus.json")
    assert env["SENTINEL_PARENT_PID"] == str(os.getpid())


async def test_the_script_follows_the_pods_of_the_node_and_its_annotation(
    tmp_path: Path, kubeconfig: Path, cluster: ClusterApi, monkeypatch: pytest.MonkeyPatch, lines: io.StringIO
) -> None:
    monkeypatch.setattr(node_daemons, "_INTERVAL_SECONDS", 0.02)
    async with running(tmp_path, kubeconfig):
        assert len(script(tmp_path, "l4-1")["gpus"]) == 4
        container = {"name": "main", "image": "fate.test/ready", "resources": {"limits": {"nvidia.com/gpu": "2"}}}
        spec = {"containers": [container], "nodeSelector": {"kubernetes.io/hostname": "l4-1"}}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "chat"}, "spec": spec}
        await cluster.post("/api/v1/namespaces/default/pods", pod)
        reference = [{"namespace": "default", "pod": "chat", "container": "main"}]
        expected = [reference, reference, [], []]
        await eventually(lambda: [gpu["containers"] for gpu in script(tmp_path, "l4-1")["gpus"]] == expected)
        await cluster.delete("/api/v1/namespaces/default/pods/chat")
        await eventually(lambda: not any(gpu["containers"] for gpu in script(tmp_path, "l4-1")["gpus"]))

        async def throw(text: str) -> None:
            await cluster.patch("/api/v1/nodes/l4-1", {"metadata": {"annotations": {"sentinel.dev/xid": text}}})

        await throw("1:79")
        await eventually(lambda: [each["xid"] for each in script(tmp_path, "l4-1")["xids"]] == [79])
        await throw("9:79")
        await eventually(lambda: "sentinel.dev/xid: l4-1 has no GPU 9; it has 4" in lines.getvalue())
    (tmp_path / "again").mkdir()
    async with running(tmp_path / "again", kubeconfig):
        assert script(tmp_path / "again", "l4-1")["xids"] == []


async def test_the_process_of_a_kind_moves_when_its_node_goes(
    tmp_path: Path, kubeconfig: Path, cluster: ClusterApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_daemons, "_INTERVAL_SECONDS", 0.02)
    async with running(tmp_path, kubeconfig) as daemons:
        gone = daemons.addresses()["d a100-1"]
        await cluster.delete("/api/v1/nodes/a100-1")
        await eventually(lambda: sorted(daemons.addresses()) == ["d a100-2", "d h100-1", "d l4-1"])
        assert gone not in daemons.addresses().values()


async def test_a_cluster_that_does_not_answer_is_told_once(tmp_path: Path, lines: io.StringIO) -> None:
    manifests = platforms.write(tmp_path / "other")
    async with running(tmp_path, manifests / "kubeconfig") as daemons:
        assert not daemons.addresses()
        assert "simulated nodes are not followed" in lines.getvalue()
