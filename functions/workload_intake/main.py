"""The functions-framework target of workload-intake."""

from functions.runtime import function_target
from functions.workload_intake import handler
from shared.eventing.function import TransactionalFunction
from shared.settings import FunctionSettings

handle = function_target(
    TransactionalFunction("workload-intake", handler.ACCEPTS, handler.handle),
    FunctionSettings.from_environment(),
)
