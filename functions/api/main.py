"""The functions-framework target of api."""

from functions.api.reading import reader
from functions.runtime import as_target, open_store
from shared.eventing.endpoint import asking
from shared.settings import FunctionSettings

settings = FunctionSettings.from_environment()
handle = as_target(asking(reader(open_store(settings)), threads=settings.pool_size))
