"""The cluster of a replay: the trace's nodes on the platform's Kubernetes API, and what the store knows of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from knative.local.cluster.client import ClusterApi, cluster_api
from knative.local.cluster.kubeconfig import CLUSTER
from knative.local.runtime.platform import Platform
from knative.local.tools.replay.trace import Node
from knative.local.tools.replay.workloads import invented_prices, node_object, node_status, require_prices
from shared.clusters.directory import ClusterDirectory
from shared.models.cluster import Cluster
from shared.store.catalogue import CatalogueRows

_AT_ONCE = 16


async def create_nodes(kubeconfig: Path, nodes: Sequence[Node]) -> None:
    """Makes the nodes and reports them ready, as kubelets would. Raises ClusterRequestFailed, aiohttp.ClientError."""
    gate = asyncio.Semaphore(_AT_ONCE)
    async with cluster_api(kubeconfig) as cluster, asyncio.TaskGroup() as group:
        for node in nodes:
            group.create_task(_create(cluster, node, gate))


async def _create(cluster: ClusterApi, node: Node, gate: asyncio.Semaphore) -> None:
    async with gate:
        await cluster.post("/api/v1/nodes", node_object(node))
        await cluster.patch(f"/api/v1/nodes/{node.name}/status", node_status(node))


def register(platform: Platform, engine: sa.Engine) -> dict[str, int]:
    """Writes the cluster's GPUs and the invented prices to the store. Returns GPUs by SKU. Raises TraceError."""
    gpus = ClusterDirectory(platform.state.path / "clusters", loopback=True).driver(CLUSTER).gpus()
    with engine.begin() as connection:
        catalogue = CatalogueRows(connection)
        catalogue.set_prices(invented_prices())
        require_prices(gpus, catalogue.prices())
        catalogue.register_cluster(Cluster(CLUSTER, gpus=gpus))
    return gpus
