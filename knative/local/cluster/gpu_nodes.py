"""The simulated GPU nodes of a cluster, by what the API server says of them and of their pods."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from knative.local.cluster.client import ClusterApi
from knative.local.cluster.heartbeats import SIMULATED

GPU = "nvidia.com/gpu"
XID = "sentinel.dev/xid"
"""The annotation that throws an XID error on a simulated node; see knative.local.runtime.node_daemons."""
_PRODUCT, _MEMORY = "nvidia.com/gpu.product", "nvidia.com/gpu.memory"
_FINISHED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class SimulatedGpuNode:
    """A node with GPUs.

    product: as GPU feature discovery labels it. memory: of each GPU in bytes, 0 if it is not known. xid: the value of
    the annotation XID, "" without one.
    """

    name: str
    product: str
    gpus: int
    memory: int
    xid: str = ""


@dataclass(frozen=True)
class GpuContainer:
    """A container on a node, with the number of GPUs that it asks for."""

    pod_uid: str
    namespace: str
    pod: str
    container: str
    gpus: int


async def simulated_gpu_nodes(cluster: ClusterApi, *, all_simulated: bool) -> list[SimulatedGpuNode]:
    """The GPU nodes that no hardware is behind: all of them, or those that kwok plays.

    Raises ClusterRequestFailed, aiohttp.ClientError.
    """
    listed = await cluster.get("/api/v1/nodes") or {"items": []}
    found = [_gpu_node(each) for each in listed["items"] if all_simulated or _is_played_by_kwok(each)]
    return [node for node in found if node is not None]


def one_of_each_kind(nodes: Iterable[SimulatedGpuNode]) -> list[SimulatedGpuNode]:
    """Of the nodes with equal GPUs, the first by name: l4-2 comes before l4-10."""
    chosen: dict[tuple[str, int], SimulatedGpuNode] = {}
    for node in sorted(nodes, key=lambda each: _natural(each.name)):
        chosen.setdefault((node.product, node.gpus), node)
    return list(chosen.values())


async def gpu_containers(cluster: ClusterApi, node: str) -> list[GpuContainer]:
    """Containers of the node that ask for GPUs and may hold them, the oldest pod first.

    Raises ClusterRequestFailed, aiohttp.ClientError.
    """
    listed = await cluster.get(f"/api/v1/pods?fieldSelector=spec.nodeName%3D{node}") or {"items": []}
    pods = sorted(listed["items"], key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["uid"]))
    return [
        GpuContainer(pod["metadata"]["uid"], pod["metadata"]["namespace"], pod["metadata"]["name"], name, gpus)
        for pod in pods
        if pod.get("status", {}).get("phase") not in _FINISHED
        for name, gpus in _requested(pod)
        if gpus
    ]


def _requested(pod: Mapping[str, Any]) -> list[tuple[str, int]]:
    return [
        (container["name"], int(container.get("resources", {}).get("limits", {}).get(GPU, 0)))
        for container in pod["spec"]["containers"]
    ]


def _gpu_node(node: Mapping[str, Any]) -> SimulatedGpuNode | None:
    metadata, allocatable = node["metadata"], node.get("status", {}).get("allocatable", {})
    labels, count = metadata.get("labels", {}), allocatable.get(GPU, "0")
    if not count.isdecimal() or not int(count) or _PRODUCT not in labels:
        return None
    mebibytes = labels.get(_MEMORY, "0")
    memory = int(mebibytes) * 2**20 if mebibytes.isdecimal() else 0
    return SimulatedGpuNode(
        metadata["name"], labels[_PRODUCT], int(count), memory, metadata.get("annotations", {}).get(XID, "")
    )


def _is_played_by_kwok(node: Mapping[str, Any]) -> bool:
    return SIMULATED in node["metadata"].get("annotations", {})


def _natural(name: str) -> list[str | int]:
    """Text and numbers by turns, so that equal positions compare."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", name)]
