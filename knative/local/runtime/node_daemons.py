"""DaemonSets on a simulated cluster: one process for each kind of GPU node, and the script that is its hardware.

Nodes are of one kind when their GPUs are equal. The process of a kind stands for the first of its nodes by name: a
laptop has no room for an agent on every node. Nodes that hardware is behind are left to their own DaemonSet.

A node's annotation `sentinel.dev/xid` throws an XID error: `kubectl annotate node h100-1 --overwrite
sentinel.dev/xid=0:79` lets GPU 0 fall off the bus. A value counts when it is new.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from knative.local.cluster import gpu_nodes
from knative.local.cluster.client import ClusterApi, ClusterRequestFailed, cluster_api
from knative.local.cluster.gpu_nodes import XID, SimulatedGpuNode
from knative.local.resources.loader import Manifests
from knative.local.runtime import assembly, gpu_script
from knative.local.runtime.gpu_script import SimulatedGpus, XidOrder
from knative.local.serving.daemon import Daemon, DaemonSpec
from shared.errors import ClusterUnavailable

_log = logging.getLogger(__name__)
_INTERVAL_SECONDS = 2.0
_SCRIPT = "gpus.json"
TARGETS = "targets.json"
"""Where the processes serve metrics, in the form of Prometheus' file-based discovery; beside the nodes' directories."""


class _Node:
    """One simulated node: its GPUs, its file system, and the processes on it."""

    def __init__(self, node: SimulatedGpuNode, directory: Path) -> None:
        self.gpus = SimulatedGpus(node)
        self.directory = directory
        self.script = directory / _SCRIPT
        self.daemons: list[Daemon] = []
        self.thrown = node.xid
        self._written: dict[str, Any] | None = None

    def throw(self, ordered: str) -> None:
        if ordered and ordered != self.thrown:
            try:
                self.gpus.throw(XidOrder.parse(ordered), datetime.now(UTC))
            except ValueError as error:
                _log.warning("node %s: the annotation %s: %s", self.gpus.node.name, XID, error)
        self.thrown = ordered

    def write(self) -> None:
        document = self.gpus.document()
        if document != self._written:
            gpu_script.write(self.script, document)
            self._written = document


class NodeDaemons:
    """All DaemonSets of the manifests. `directory` holds the file systems of the nodes, which outlive the platform.

    `settings` are variables that the platform chooses for the processes, and not the manifest. `all_simulated` says
    whether no node of the cluster has hardware.
    """

    def __init__(
        self,
        manifests: Manifests,
        kubeconfig: Path,
        base_url: str,
        directory: Path,
        settings: Mapping[str, str],
        *,
        all_simulated: bool,
    ) -> None:
        self._manifests = manifests
        self._kubeconfig = kubeconfig
        self._base_url = base_url
        self._directory = directory
        self._settings = settings
        self._all_simulated = all_simulated
        self._nodes: dict[str, _Node] = {}
        self._announced: list[str] | None = None
        self.simulated: tuple[str, ...] = ()
        """The names of all simulated GPU nodes, those without a process included."""

    def addresses(self) -> dict[str, str]:
        """Where each process serves, by its name."""
        return {each.spec.name: each.address for node in self._nodes.values() for each in node.daemons}

    def gpus(self) -> dict[str, SimulatedGpus]:
        """The GPUs of the nodes that the processes stand for, by node."""
        return {name: node.gpus for name, node in self._nodes.items()}

    async def run(self, started: asyncio.Event) -> None:
        """Follows the cluster until cancelled. `started` is set after the first look at it, however that ended."""
        failing = False
        while True:
            try:
                async with cluster_api(self._kubeconfig) as cluster:
                    while True:
                        await self._follow(cluster)
                        failing = False
                        started.set()
                        await asyncio.sleep(_INTERVAL_SECONDS)
            except (aiohttp.ClientError, OSError, TimeoutError, ClusterRequestFailed, ClusterUnavailable) as error:
                level = logging.DEBUG if failing else logging.WARNING
                _log.log(level, "simulated nodes are not followed: %s %s", type(error).__name__, error)
                failing = True
            finally:
                started.set()
            await asyncio.sleep(_INTERVAL_SECONDS)

    async def stop(self) -> None:
        """Ends every process."""
        nodes, self._nodes = self._nodes, {}
        await asyncio.gather(*(daemon.stop() for node in nodes.values() for daemon in node.daemons))

    async def _follow(self, cluster: ClusterApi) -> None:
        found = await gpu_nodes.simulated_gpu_nodes(cluster, all_simulated=self._all_simulated)
        self.simulated = tuple(node.name for node in found)
        chosen = {node.name: node for node in gpu_nodes.one_of_each_kind(found)}
        for name in [name for name in self._nodes if chosen.get(name) is None]:
            await asyncio.gather(*(daemon.stop() for daemon in self._nodes.pop(name).daemons))
        for name, node in chosen.items():
            current = self._nodes.get(name)
            if current is None:
                current = self._nodes[name] = _Node(node, self._directory / name)
                current.directory.mkdir(parents=True, exist_ok=True)
            current.throw(node.xid)
            current.gpus.assign(await gpu_nodes.gpu_containers(cluster, name))
            current.write()
            if not current.daemons:
                current.daemons = [Daemon(spec) for spec in self._specs(name, current)]
        self._announce(sorted(self.addresses().values()))

    def _announce(self, addresses: list[str]) -> None:
        if addresses != self._announced:
            scratch = self._directory / f"{TARGETS}.new"
            scratch.write_text(json.dumps([{"targets": [one.removeprefix("http://") for one in addresses]}]))
            scratch.replace(self._directory / TARGETS)
            self._announced = addresses

    def _specs(self, name: str, node: _Node) -> list[DaemonSpec]:
        settings = {**self._settings, "GPU_SCRIPT": str(node.script)}
        return [
            assembly.daemon_spec(each, self._manifests, self._base_url, name, node.directory, settings)
            for each in self._manifests.daemon_sets.values()
        ]
