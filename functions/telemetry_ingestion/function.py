"""The function telemetry-ingestion, built from its parts."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from functions.telemetry_ingestion import handler
from shared.eventing.function import ClusterFunction, GroupCommit
from shared.models.retention import DEFAULT_RETENTION, Retention
from shared.store.unit_of_work import UnitOfWork

if TYPE_CHECKING:
    from shared.operations.collect import Prometheus


def build(
    retention: Retention = DEFAULT_RETENTION, prometheus: "Callable[[], Prometheus] | None" = None
) -> ClusterFunction[UnitOfWork, Any, Any]:
    """retention: how long samples and their rollups are kept. prometheus: makes the client when it is first needed."""
    ingestion = handler.TelemetryIngestion(retention, prometheus)
    return ClusterFunction(
        "telemetry-ingestion",
        handler.ACCEPTS,
        ingestion.prepare,
        ingestion.perform,
        ingestion.conclude,
        group_commit=GroupCommit(handler.SAMPLES, ingestion.read, ingestion.write, ingestion.read_plain),
    )
