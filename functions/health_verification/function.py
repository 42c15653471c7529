"""The function health-verification, built from its parts."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from functions.health_verification import handler
from shared.eventing.function import ClusterFunction
from shared.models.faults import DEFAULT_FAULT_RULES, FaultRules
from shared.models.idle import ReclaimRules
from shared.models.slo import DEFAULT_BREACH_PLANS_PER_HOUR
from shared.store.unit_of_work import UnitOfWork


def build(
    perform: Callable[[Any], Any],
    *,
    pull_grace: timedelta,
    rules: FaultRules = DEFAULT_FAULT_RULES,
    reclaim: ReclaimRules | None = None,
    breach_plans_per_hour: int = DEFAULT_BREACH_PLANS_PER_HOUR,
) -> ClusterFunction[UnitOfWork, Any, Any]:
    """perform: observes revisions on their clusters, or reads a page of a sweep, as `handler.perform` does. pull_grace:
    how long after an apply an image may fail to be pulled. rules: how faults are answered. reclaim: when idle GPUs are
    taken; None for never. breach_plans_per_hour: how many plans breaches may lead to for one workload.
    """
    how = handler.Rules(pull_grace, rules, reclaim, breach_plans_per_hour)
    prepare = partial(handler.prepare, rules=how)
    conclude = partial(handler.conclude, rules=how)
    return ClusterFunction("health-verification", handler.ACCEPTS, prepare, perform, conclude)
