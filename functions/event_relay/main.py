"""The functions-framework target of event-relay."""

from functions.event_relay import handler
from functions.runtime import function_target, open_store
from shared.eventing.function import ClusterFunction
from shared.eventing.publishing import HttpPublisher
from shared.settings import FunctionSettings

settings = FunctionSettings.from_environment()
publish = handler.publisher(open_store(settings), HttpPublisher(settings.required_sink()))
handle = function_target(
    ClusterFunction("event-relay", handler.ACCEPTS, handler.prepare, publish, handler.conclude),
    settings,
)
