"""The catalogue: every event type, declared once, one module per subject."""

from events import continuation, deployment, foreign, plan, policy, telemetry, workload
from events.catalogue import CATALOGUE

__all__ = ["CATALOGUE", "continuation", "deployment", "foreign", "plan", "policy", "telemetry", "workload"]
