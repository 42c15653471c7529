"""The functions-framework target of policy-evaluation."""

from functions import runtime
from functions.policy_evaluation.function import build

handle = runtime.event_target(lambda ports: build())
