"""Stores a batch: one row for each sample, all of them or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from events import CATALOGUE
from events.telemetry import TelemetryGpu, TelemetryWorkload
from shared.eventing.event import Event, Outgoing
from shared.models.telemetry import Sample
from shared.operations import telemetry

if TYPE_CHECKING:
    from shared.store.unit_of_work import UnitOfWork

ACCEPTS = CATALOGUE.of(TelemetryGpu, TelemetryWorkload)


def handle(event: Event, work: UnitOfWork) -> Sequence[Outgoing]:
    """Emits nothing: telemetry ends here until something is wrong."""
    telemetry.record(work, _samples(event.data))
    return []


def _samples(data: TelemetryGpu | TelemetryWorkload) -> list[Sample]:
    if isinstance(data, TelemetryGpu):
        return [
            Sample("gpu", data.node, data.observed_at, {"gpu": one.gpu, "metrics": {**one.metrics}})
            for one in data.gpus
        ]
    return [Sample("workload", data.workload, one.observed_at, {"metrics": {**one.metrics}}) for one in data.samples]
