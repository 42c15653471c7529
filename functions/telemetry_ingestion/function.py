"""The function telemetry-ingestion, built from its parts."""

from functions.telemetry_ingestion import handler
from shared.eventing.function import GroupCommit, TransactionalFunction
from shared.models.retention import DEFAULT_RETENTION, Retention
from shared.store.unit_of_work import UnitOfWork


def build(retention: Retention = DEFAULT_RETENTION) -> TransactionalFunction[UnitOfWork]:
    """retention: how long samples and their rollups are kept."""
    ingestion = handler.TelemetryIngestion(retention)
    samples = GroupCommit(handler.SAMPLES, ingestion.read, ingestion.write)
    return TransactionalFunction("telemetry-ingestion", handler.ACCEPTS, ingestion.handle, samples)
