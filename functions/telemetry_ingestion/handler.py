"""Stores samples once, by their natural key. The tick makes rollups of them, and tells of error budgets that burn.

A node speaks for itself alone: its events have the source `/sentinel/agents/<cluster>/<node>` and its name as subject.

Where there is a Prometheus, the tick announces what is due to be collected from it. Each page is an event of its own:
a Prometheus that hangs delays nothing else. See shared.operations.collect.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from events import CATALOGUE
from events.continuation import CollectionDue
from events.foreign import Tick
from events.telemetry import SloBreached, TelemetryGpu, TelemetryWorkload
from shared.errors import PoisonEvent
from shared.eventing.event import Outgoing
from shared.eventing.function import Done
from shared.models.actor import Actor
from shared.models.telemetry import Container, GpuSample, NodeSample, WorkloadReport, WorkloadSample, agent_source
from shared.operations import telemetry
from shared.telemetry.fields import GPU_FIELDS

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Collection, Mapping, Sequence

    from shared.eventing.event import Event
    from shared.models.retention import Retention
    from shared.models.slo import BreachChange
    from shared.operations.collect import Collected, CollectionTask, Prometheus
    from shared.operations.policy_cache import PolicyCache
    from shared.store.unit_of_work import UnitOfWork

SAMPLES = CATALOGUE.of(TelemetryGpu, TelemetryWorkload)
ACCEPTS = {**SAMPLES, **CATALOGUE.of(Tick, CollectionDue)}
_GPU = CATALOGUE.name_of(TelemetryGpu)
ACTOR = Actor.function("telemetry-ingestion")


class TelemetryIngestion:
    """The handler, with what it keeps from one event to the next: the compiled policies, and connections to Prometheus.

    retention: how long samples and their rollups are kept. prometheus: makes the client; None where there is none.
    """

    def __init__(self, retention: Retention, prometheus: Callable[[], Prometheus] | None) -> None:
        self._retention = retention
        self._connect = prometheus

    def prepare(self, event: Event, work: UnitOfWork) -> CollectionTask | Done:
        """Does all there is to do, but for what is to be collected. Raises PoisonEvent as `read` does."""
        match event.data:
            case CollectionDue(collections=announced):
                return self._claim(work, announced)
            case Tick():
                reported = telemetry.roll_up(work, self._retention)
                breaches = [] if reported is None else self._check_budgets(work, reported)
                return Done([*breaches, *self._due(work)])
            case _:
                self.write([self.read(event)], work)
                return Done()

    def perform(self, task: CollectionTask) -> dict[str, Collected]:
        """Asks Prometheus."""
        from shared.operations import collect

        return collect.read(self._prometheus, task)

    def conclude(
        self, event: Event, task: CollectionTask, collected: dict[str, Collected], work: UnitOfWork
    ) -> Sequence[Outgoing]:
        """Stores what was read. Nothing follows: the tick announces what is due next."""
        from shared.operations import collect

        collect.conclude(work, task, collected)
        return []

    def read(self, event: Event) -> NodeSample | WorkloadReport:
        """What an event with samples says. Raises PoisonEvent for a node that speaks for another."""
        match event.data:
            case TelemetryWorkload(workload=workload_id, samples=samples):
                return WorkloadReport(workload_id, [WorkloadSample(one.observed_at, one.metrics) for one in samples])
            case data:
                return _node_sample(event, data)

    def read_plain(self, attributes: Mapping[str, str], body: bytes) -> NodeSample | None:
        """The same of most samples of nodes, faster; None of others."""
        from functions.telemetry_ingestion import plain_samples  # not needed before there is load

        return plain_samples.read(attributes, body) if attributes["type"] == _GPU else None

    def write(self, read: Sequence[NodeSample | WorkloadReport], work: UnitOfWork) -> None:
        """Stores what is not there yet."""
        telemetry.record_nodes(work, [one for one in read if isinstance(one, NodeSample)], self._retention.samples)
        reports = (one for one in read if isinstance(one, WorkloadReport))
        telemetry.record_workloads(work, reports, self._retention.samples)

    def _claim(self, work: UnitOfWork, announced: Mapping[str, int]) -> CollectionTask | Done:
        if self._connect is None:
            return Done()
        from shared.operations import collect

        return collect.claim(work, announced) or Done()

    def _due(self, work: UnitOfWork) -> list[Outgoing]:
        if self._connect is None:
            return []
        from shared.operations import collect

        pages = [{one.subject: one.number for one in page} for page in collect.due(work)]
        return [Outgoing(CollectionDue(collections=page), f"collection/{next(iter(page))}") for page in pages]

    def _check_budgets(self, work: UnitOfWork, reported: Collection[uuid.UUID]) -> list[Outgoing]:
        from shared.operations import slo  # samples need no policies, which take their time to import

        return [_breached(change) for change in slo.check(work, self._policies, reported, ACTOR)]

    @cached_property
    def _policies(self) -> PolicyCache:
        from shared.operations.policy_cache import PolicyCache

        return PolicyCache()

    @cached_property
    def _prometheus(self) -> Prometheus:
        assert self._connect is not None
        return self._connect()


def _breached(change: BreachChange) -> Outgoing:
    breach, crossing = change.breach, change.breach.crossing
    data = SloBreached(
        workload=str(breach.workload_id),
        objective="min_success_rate",
        breach=breach.id,
        state=change.state,
        policy=breach.policy,
        target=crossing.target,
        burn_rate=change.burn_rate,
        factor=crossing.factor,
        long_window=crossing.long,
        short_window=crossing.short,
        message=change.message,
    )
    return Outgoing(data, str(breach.workload_id))


def _node_sample(event: Event, data: TelemetryGpu) -> NodeSample:
    source = agent_source(data.cluster, data.node)
    if event.source != source:
        raise PoisonEvent(f"cluster and node: samples of {data.node!r} come from the source {source!r} alone")
    if event.subject != data.node:
        raise PoisonEvent(f"subject: must be the node {data.node!r}")
    gpus = [
        GpuSample(
            one.gpu,
            one.index,
            one.product,
            one.state,
            one.parent,
            one.profile,
            tuple(map(one.metrics.get, GPU_FIELDS)),
            tuple(Container(held.namespace, held.pod, held.container) for held in one.containers),
        )
        for one in data.gpus
    ]
    return NodeSample(data.cluster, data.node, data.observed_at, data.state, data.driver, gpus)
