"""Heartbeats of simulated nodes, on a real API server: the stand-in has no leases."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from knative.local.cluster import heartbeats
from knative.local.cluster.client import ClusterApi, cluster_api

pytestmark = pytest.mark.cluster

_SIMULATED = {"kwok.x-k8s.io/node": "fake"}


@contextlib.asynccontextmanager
async def a_node(cluster: ClusterApi, annotations: dict[str, str]) -> AsyncIterator[str]:
    """The path of the Lease of a node that nobody can schedule to."""
    name = f"heartbeat-{uuid.uuid4().hex[:8]}"
    metadata = {"name": name, "annotations": annotations}
    spec = {"unschedulable": True}
    await cluster.post("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec})
    try:
        yield f"{heartbeats.LEASES}/{name}"
    finally:
        await cluster.delete(f"/api/v1/nodes/{name}")
        await cluster.delete(f"{heartbeats.LEASES}/{name}")


@contextlib.asynccontextmanager
async def beating(kubeconfig: Path) -> AsyncIterator[None]:
    task = asyncio.create_task(heartbeats.beat(kubeconfig, interval_seconds=0.05))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def renewed(cluster: ClusterApi, lease: str, after: str = "") -> dict[str, Any]:
    """The lease's spec once it was renewed later than `after`."""
    async with asyncio.timeout(20):
        while True:
            found = await cluster.get(lease)
            if found is not None and found["spec"]["renewTime"] > after:
                spec: dict[str, Any] = found["spec"]
                return spec
            await asyncio.sleep(0.02)


async def test_the_lease_of_a_simulated_node_is_made_and_renewed(real_cluster: Path) -> None:
    async with cluster_api(real_cluster) as cluster, a_node(cluster, _SIMULATED) as lease, beating(real_cluster):
        first = await renewed(cluster, lease)
        second = await renewed(cluster, lease, after=first["renewTime"])
        assert second["holderIdentity"] == heartbeats.HOLDER


async def test_a_lease_that_another_renews_and_a_node_that_is_not_simulated_are_left_alone(real_cluster: Path) -> None:
    async with (
        cluster_api(real_cluster) as cluster,
        a_node(cluster, _SIMULATED) as simulated,
        a_node(cluster, _SIMULATED) as held,
        a_node(cluster, {}) as real,
    ):
        theirs = {"holderIdentity": "kubelet", "renewTime": "2026-01-01T00:00:00.000000Z"}
        metadata = {"name": held.rpartition("/")[2], "namespace": "kube-node-lease"}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": theirs}
        await cluster.post(heartbeats.LEASES, body)
        async with beating(real_cluster):
            first = await renewed(cluster, simulated)
            await renewed(cluster, simulated, after=first["renewTime"])
        left = await cluster.get(held)
        assert left is not None
        assert left["spec"] == theirs
        assert await cluster.get(real) is None
