"""The function policy-evaluation, built from its parts."""

from functions.policy_evaluation import handler
from shared.eventing.function import TransactionalFunction
from shared.store.unit_of_work import UnitOfWork


def build() -> TransactionalFunction[UnitOfWork]:
    """The function; it needs nothing but the transaction that each event brings."""
    return TransactionalFunction("policy-evaluation", handler.ACCEPTS, handler.PolicyEvaluation().handle)
