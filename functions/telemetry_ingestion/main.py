"""The functions-framework target of telemetry-ingestion."""

from functions.runtime import function_target
from functions.telemetry_ingestion import handler
from shared.eventing.function import TransactionalFunction
from shared.settings import FunctionSettings

handle = function_target(
    TransactionalFunction("telemetry-ingestion", handler.ACCEPTS, handler.handle),
    FunctionSettings.from_environment(),
)
