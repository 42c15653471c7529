"""Stores samples once, by their natural key, and emits nothing. The tick makes rollups of them.

A node speaks for itself alone: its events have the source `/sentinel/agents/<cluster>/<node>` and its name as subject.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from events import CATALOGUE
from events.foreign import Tick
from events.telemetry import TelemetryGpu, TelemetryWorkload
from shared.errors import PoisonEvent
from shared.models.telemetry import Container, GpuSample, NodeSample, WorkloadSample, agent_source
from shared.operations import telemetry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.eventing.event import Event, Outgoing
    from shared.models.retention import Retention
    from shared.store.unit_of_work import UnitOfWork

ACCEPTS = CATALOGUE.of(TelemetryGpu, TelemetryWorkload, Tick)


def handle(event: Event, work: UnitOfWork, *, retention: Retention) -> Sequence[Outgoing]:
    """Raises PoisonEvent for a node that speaks for another."""
    match event.data:
        case TelemetryGpu():
            telemetry.record_node(work, _node_sample(event, event.data), retention.samples)
        case TelemetryWorkload(workload=workload_id, samples=samples):
            taken = [WorkloadSample(one.observed_at, one.metrics) for one in samples]
            telemetry.record_workload(work, workload_id, taken, retention.samples)
        case _:
            telemetry.roll_up(work, retention)
    return []


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
            one.state.value,
            one.parent,
            one.profile,
            one.metrics,
            [Container(held.namespace, held.pod, held.container) for held in one.containers],
        )
        for one in data.gpus
    ]
    return NodeSample(data.cluster, data.node, data.observed_at, data.state.value, data.driver, gpus)
