"""Heartbeats for the nodes of a simulated cluster that have none.

A kubelet renews its node's Lease every 10 s. A node that kwok plays without leases has no heartbeat at all, so the node
lifecycle controller declares it lost whenever its grace period (50 s) is over, and marks every pod on it not ready.
kwok makes such a node ready again at once; its pods, which only a kubelet would, stay as they are, and with them every
workload turns unhealthy. So while the platform runs on such a cluster it renews those leases. A node whose Lease is
renewed by another, as that of every kubelet is, is left alone.

Sources: "Heartbeats" in the Kubernetes documentation of nodes; kwok marks its nodes with the annotation
`kwok.x-k8s.io/node`, and renews their leases if started with --node-lease-duration-seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from knative.local.cluster.client import ClusterApi, ClusterRequestFailed, cluster_api

_log = logging.getLogger(__name__)
INTERVAL_SECONDS = 10.0
HOLDER = "sentinel-local"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
SIMULATED = "kwok.x-k8s.io/node"
_LEASE_SECONDS = 40


async def beat(kubeconfig: Path, interval_seconds: float = INTERVAL_SECONDS) -> None:
    """Renews the leases for ever; returns once it has seen that no node needs it. Raises ClusterUnavailable."""
    async with cluster_api(kubeconfig) as cluster:
        needed = True
        while needed:
            try:
                nodes = await _without_heartbeat(cluster)
                for node in nodes:
                    await _renew(cluster, node)
                needed = bool(nodes)
            except (aiohttp.ClientError, OSError, ClusterRequestFailed) as error:
                _log.debug("simulated nodes have missed a heartbeat: %s", error)
            await asyncio.sleep(interval_seconds if needed else 0)


async def _without_heartbeat(cluster: ClusterApi) -> list[Mapping[str, Any]]:
    """The simulated nodes that nobody else keeps alive."""
    listed = await cluster.get("/api/v1/nodes") or {"items": []}
    simulated = [node for node in listed["items"] if SIMULATED in node["metadata"].get("annotations", {})]
    leases = [await cluster.get(f"{LEASES}/{node['metadata']['name']}") for node in simulated]
    return [
        node
        for node, lease in zip(simulated, leases, strict=True)
        if lease is None or lease["spec"].get("holderIdentity") == HOLDER
    ]


async def _renew(cluster: ClusterApi, node: Mapping[str, Any]) -> None:
    name = node["metadata"]["name"]
    spec = {
        "holderIdentity": HOLDER,
        "leaseDurationSeconds": _LEASE_SECONDS,
        "renewTime": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
    }
    if await cluster.patch(f"{LEASES}/{name}", {"spec": spec}) is None:
        owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node["metadata"]["uid"]}
        metadata = {"name": name, "namespace": "kube-node-lease", "ownerReferences": [owner]}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
        await cluster.post(LEASES, body)
