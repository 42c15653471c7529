"""The functions-framework target of event-relay."""

from functions import runtime
from functions.event_relay.function import build

handle = runtime.event_target(lambda ports: build(ports.store, ports.publisher(), ports.settings.retention))
