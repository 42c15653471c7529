"""The functions-framework target of dead-letter."""

from functions.dead_letter.handler import keeper
from functions.runtime import as_target, open_store
from shared.eventing.endpoint import endpoint
from shared.settings import FunctionSettings

settings = FunctionSettings.from_environment()
handle = as_target(endpoint(keeper(open_store(settings)), threads=settings.pool_size))
