"""Which GPU nodes are simulated, and which containers ask for their GPUs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from knative.local.cluster import gpu_nodes
from knative.local.cluster.client import ClusterApi, cluster_api
from knative.local.cluster.gpu_nodes import GpuContainer, SimulatedGpuNode
from tests.support.platforms import KUBECONFIG
from tests.support.subscribers import serving

KWOK = {"kwok.x-k8s.io/node": "fake"}
Answering = Callable[[list[dict[str, Any]]], AbstractAsyncContextManager[ClusterApi]]


def node(
    name: str, gpus: str = "8", memory: str = "23034", annotations: dict[str, str] | None = None
) -> dict[str, Any]:
    labels = {"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.memory": memory}
    metadata = {"name": name, "labels": labels, "annotations": annotations or {}}
    return {"metadata": metadata, "status": {"allocatable": {"nvidia.com/gpu": gpus}}}


def pod(name: str, at: str, *gpus: str, phase: str = "Running") -> dict[str, Any]:
    containers = [
        {"name": f"c{number}", "resources": {"limits": {"nvidia.com/gpu": count}}} for number, count in enumerate(gpus)
    ]
    metadata = {"name": name, "namespace": "search", "uid": f"uid-{name}", "creationTimestamp": at}
    return {"metadata": metadata, "spec": {"containers": containers}, "status": {"phase": phase}}


@pytest.fixture
def answering(tmp_path: Path) -> Answering:
    """A client of an API server that answers every list with these objects."""

    @asynccontextmanager
    async def client(items: list[dict[str, Any]]) -> AsyncIterator[ClusterApi]:
        async def handle(_: web.BaseRequest) -> web.Response:
            return web.json_response({"items": items})

        async with serving(handle) as url:
            kubeconfig = {**KUBECONFIG, "clusters": [{"name": "c", "cluster": {"server": url}}]}
            (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
            async with cluster_api(tmp_path / "kubeconfig") as cluster:
                yield cluster

    return client


async def test_nodes_with_hardware_behind_them_are_left_to_their_own_agents(answering: Answering) -> None:
    async with answering([node("real"), node("played", annotations=KWOK)]) as cluster:
        found = await gpu_nodes.simulated_gpu_nodes(cluster, all_simulated=False)
        assert [each.name for each in found] == ["played"]
        found = await gpu_nodes.simulated_gpu_nodes(cluster, all_simulated=True)
        assert [each.name for each in found] == ["real", "played"]


async def test_what_a_node_says_of_its_gpus(answering: Answering) -> None:
    without = node("cpu", gpus="0")
    unlabelled: dict[str, Any] = {"metadata": {"name": "new"}, "status": {}}
    odd = node("odd", memory="much")
    throwing = node("l4-1", annotations={"sentinel.dev/xid": "0:79"})
    async with answering([without, unlabelled, odd, throwing]) as cluster:
        assert await gpu_nodes.simulated_gpu_nodes(cluster, all_simulated=True) == [
            SimulatedGpuNode("odd", "NVIDIA-L4", 8, 0),
            SimulatedGpuNode("l4-1", "NVIDIA-L4", 8, 23034 * 2**20, "0:79"),
        ]


def test_the_first_node_by_name_stands_for_its_kind() -> None:
    def named(name: str, product: str = "L4", gpus: int = 4) -> SimulatedGpuNode:
        return SimulatedGpuNode(name, product, gpus, 0)

    chosen = gpu_nodes.one_of_each_kind(
        [named("l4-10"), named("l4-2"), named("h100-1", "H100"), named("l4-3", gpus=8), named("l4-2a")]
    )
    assert [each.name for each in chosen] == ["h100-1", "l4-2", "l4-3"]


async def test_containers_that_hold_gpus_the_oldest_pod_first(answering: Answering) -> None:
    young, old = pod("young", "2026-01-02T00:00:00Z", "1"), pod("old", "2026-01-01T00:00:00Z", "0", "2")
    done = pod("done", "2026-01-01T00:00:00Z", "8", phase="Succeeded")
    async with answering([young, done, old]) as cluster:
        assert await gpu_nodes.gpu_containers(cluster, "l4-1") == [
            GpuContainer("uid-old", "search", "old", "c1", 2),
            GpuContainer("uid-young", "search", "young", "c0", 1),
        ]
