"""The functions-framework target of workload-intake."""

from functions import runtime
from functions.workload_intake.function import build

handle = runtime.event_target(lambda ports: build())
