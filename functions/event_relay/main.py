"""The functions-framework target of event-relay."""

from functions import runtime
from functions.event_relay.function import build
from shared.eventing.publishing import HttpPublisher

handle = runtime.event_target(
    lambda ports: build(ports.store, HttpPublisher(ports.settings.required_sink()), ports.settings.retention)
)
