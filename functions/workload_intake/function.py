"""The function workload-intake, built from its parts."""

from functions.workload_intake import handler
from shared.eventing.function import TransactionalFunction
from shared.store.unit_of_work import UnitOfWork


def build() -> TransactionalFunction[UnitOfWork]:
    """The function; it needs nothing but the transaction that each event brings."""
    return TransactionalFunction("workload-intake", handler.ACCEPTS, handler.WorkloadIntake().handle)
