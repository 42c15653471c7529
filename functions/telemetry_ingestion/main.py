"""The functions-framework target of telemetry-ingestion."""

from functions import runtime
from functions.telemetry_ingestion.function import build

handle = runtime.event_target(lambda ports: build(ports.settings.retention))
