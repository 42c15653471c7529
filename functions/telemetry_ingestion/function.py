"""The function telemetry-ingestion, built from its parts."""

from functions.telemetry_ingestion import handler
from shared.eventing.function import TransactionalFunction
from shared.store.unit_of_work import UnitOfWork


def build() -> TransactionalFunction[UnitOfWork]:
    """The function; it needs nothing but the transaction that each event brings."""
    return TransactionalFunction("telemetry-ingestion", handler.ACCEPTS, handler.handle)
