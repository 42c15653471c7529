"""The functions-framework target of telemetry-ingestion."""

from functions import runtime
from functions.telemetry_ingestion.function import build
from shared.prometheus.connect import connector

handle = runtime.event_target(lambda ports: build(ports.settings.retention, connector(ports.settings.prometheus)))
