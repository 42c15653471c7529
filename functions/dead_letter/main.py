"""The functions-framework target of dead-letter."""

from functions import runtime
from functions.dead_letter.function import build

handle = runtime.request_target(lambda ports: build(ports.store))
