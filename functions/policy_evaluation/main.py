"""The functions-framework target of policy-evaluation."""

from functions.policy_evaluation import handler
from functions.runtime import function_target
from shared.eventing.function import TransactionalFunction
from shared.settings import FunctionSettings

handle = function_target(
    TransactionalFunction(
        "policy-evaluation",
        handler.ACCEPTS,
        handler.Evaluation().handle,
    ),
    FunctionSettings.from_environment(),
)
