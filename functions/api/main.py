"""The functions-framework target of api."""

from functions import runtime
from functions.api.function import build

handle = runtime.reading_target(lambda ports: build(ports.store))
