"""What the scenarios work with: the broker to post to, and the store and the cluster to check."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from events.workload import WorkloadSubmitted, WorkloadWithdrawn
from knative.local.cluster.client import ClusterApi
from knative.local.cluster.gpu_nodes import XID
from knative.local.cluster.kubeconfig import CLUSTER
from knative.local.runtime.node_daemons import NodeDaemons
from knative.local.tools.demo.timeline import DemoTimeline
from knative.local.tools.publisher import IngressPublisher
from shared.models.amounts import Amounts
from shared.models.gpu import normalise_sku
from shared.models.lifecycle import Phase
from shared.models.node import NodeFilter
from shared.models.page import PageRequest
from shared.models.stored import Workload
from shared.models.workload import WorkloadSpec, workload_id
from shared.store.unit_of_work import Store, UnitOfWork

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
"""How long an expected event or state may take: far more than it does, on any machine."""

_POLL_SECONDS = 0.1


class ExpectationFailed(Exception):
    """An outcome is not what it should be; the message says which and what it is instead."""


@dataclass(frozen=True)
class DemoGpus:
    """The GPUs that the demo asks for: a SKU of the cluster that has a price, and how many there are; None and 0 if
    the cluster has none."""

    sku: str | None
    count: int


class DemoSession:
    """One run of the demo. `namespace` is the demo's own on the cluster. `daemons` has the simulated GPU nodes, and the
    agents that report on them."""

    def __init__(
        self,
        publisher: IngressPublisher,
        store: Store,
        cluster: ClusterApi,
        timeline: DemoTimeline,
        namespace: str,
        fleet: DemoGpus,
        daemons: NodeDaemons | None,
    ) -> None:
        self.namespace = namespace
        self.fleet = fleet
        self._daemons = daemons
        self.timeline = timeline
        self._publisher = publisher
        self._store = store
        self._cluster = cluster
        self._posted = 0

    async def submit(self, document: Mapping[str, Any]) -> uuid.UUID:
        """Posts a workload, in the demo's namespace. Returns the workload's id."""
        spec = WorkloadSpec.model_validate({**document, "namespace": self.namespace})
        self.timeline.introduce(str(spec.id), spec.name)
        self._posted += 1
        await self._publisher.publish(WorkloadSubmitted, str(self._posted), {**document, "namespace": self.namespace})
        return spec.id

    async def withdraw(self, name: str, team: str) -> uuid.UUID:
        """Asks for a workload's removal."""
        self._posted += 1
        withdrawal = {"name": name, "team": team, "namespace": self.namespace}
        await self._publisher.publish(WorkloadWithdrawn, str(self._posted), withdrawal)
        return workload_id(team, self.namespace, name)

    async def emitted(self, kind: str, name: str) -> None:
        """Expects an event. Raises ExpectationFailed."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self.timeline.until(kind, name)
        except TimeoutError:
            raise ExpectationFailed(f"{name}: no {kind} within {PATIENCE_SECONDS:g} s") from None

    async def reaches(self, workload: uuid.UUID, phase: Phase) -> Workload:
        """Expects a phase. Raises ExpectationFailed."""

        def read(work: UnitOfWork) -> Workload | None:
            return work.workloads.get(workload)

        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while True:
            found = await self._read(read)
            if found is not None and found.phase is phase:
                return found
            if asyncio.get_running_loop().time() > deadline:
                now = f"{found.phase} ({found.reason})" if found else "not in the store"
                raise ExpectationFailed(f"{found.spec.name if found else workload}: expected {phase}, but it is {now}")
            await asyncio.sleep(_POLL_SECONDS)

    async def held(self, workload: Workload) -> Amounts:
        """What the workload holds of quota and budget."""
        lines = await self._read(lambda work: work.ledger.reserved(workload.id, workload.cluster))
        return sum(lines.values(), Amounts())

    async def broken_rules(self, workload: uuid.UUID) -> Collection[str]:
        """The types of the rules that the newest plan was denied by."""
        decisions = await self._read(lambda work: work.plans.decisions_on(workload))
        return [violation["rule"] for violation in decisions[-1].violations]

    async def deployment(self, name: str) -> dict[str, Any] | None:
        """The Deployment on the cluster."""
        return await self._cluster.get(f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{name}")

    async def excluded_nodes(self) -> Collection[str]:
        """The nodes that take no new pods."""
        wanted, request = NodeFilter(cluster=CLUSTER, excluded=True), PageRequest(sort="name")
        page = await self._read(lambda work: work.nodes.page(wanted, request))
        return [node.name for node in page.items]

    def reported_node(self) -> str | None:
        """A node with the demo's GPUs that an agent reports on; None where there is none."""
        reported = self._daemons.gpus().items() if self._daemons else ()
        return next((name for name, gpus in reported if normalise_sku(gpus.node.product) == self.fleet.sku), None)

    @contextlib.asynccontextmanager
    async def only(self, node: str) -> AsyncIterator[None]:
        """Meanwhile, the scheduler takes no other of the simulated nodes."""
        others = [name for name in self._daemons.simulated if name != node] if self._daemons else []
        try:
            for name in others:
                await self._cluster.patch(f"/api/v1/nodes/{name}", {"spec": {"unschedulable": True}})
            yield
        finally:
            for name in others:
                await self._cluster.patch(f"/api/v1/nodes/{name}", {"spec": {"unschedulable": None}})

    async def pod(self, name: str) -> Mapping[str, Any]:
        """The workload's one pod that is not on its way out. Raises ExpectationFailed."""
        found: list[Mapping[str, Any]] = []
        for _ in range(int(PATIENCE_SECONDS / _POLL_SECONDS)):
            path = f"/api/v1/namespaces/{self.namespace}/pods?labelSelector=app.kubernetes.io/name%3D{name}"
            listed = await self._cluster.get(path) or {"items": []}
            found = [pod for pod in listed["items"] if "deletionTimestamp" not in pod["metadata"]]
            if len(found) == 1:
                return found[0]
            await asyncio.sleep(_POLL_SECONDS)
        raise ExpectationFailed(f"{name}: expected one pod, but there are {len(found)}")

    async def throw_xid(self, node: str, pod: str, xid: int) -> None:
        """An XID error on the pod's first GPU, seen by the node's agent. Raises ExpectationFailed."""
        for _ in range(int(PATIENCE_SECONDS / _POLL_SECONDS)):
            held = self._daemons.gpus()[node].held_by(self.namespace, pod) if self._daemons else []
            if held:
                self.timeline.note(f"kubectl annotate node {node} --overwrite {XID}={held[0]}:{xid}")
                annotations = {XID: f"{held[0]}:{xid}"}
                await self._cluster.patch(f"/api/v1/nodes/{node}", {"metadata": {"annotations": annotations}})
                return
            await asyncio.sleep(_POLL_SECONDS)
        raise ExpectationFailed(f"{pod} has no GPU on {node}")

    def expect(self, what: str, holds: bool, instead: object = "") -> None:
        """Says that an expectation held. Raises ExpectationFailed otherwise."""
        if not holds:
            raise ExpectationFailed(f"{what}" + (f"; it is {instead}" if instead != "" else ""))
        self.timeline.note(f"as expected: {what}")

    async def _read(self, ask: Callable[[UnitOfWork], T]) -> T:
        def work() -> T:
            with self._store.begin() as unit:
                return ask(unit)

        return await asyncio.to_thread(work)
