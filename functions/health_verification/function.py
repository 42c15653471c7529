"""The function health-verification, built from its parts."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from functions.health_verification import handler
from shared.eventing.function import ClusterFunction
from shared.models.faults import DEFAULT_FAULT_RULES, FaultRules
from shared.models.idle import ReclaimRules
from shared.store.unit_of_work import UnitOfWork


def build(
    perform: Callable[[Any], Any],
    *,
    pull_grace: timedelta,
    rules: FaultRules = DEFAULT_FAULT_RULES,
    reclaim: ReclaimRules | None = None,
) -> ClusterFunction[UnitOfWork, Any, Any]:
    """perform: observes revisions on their clusters, or reads a page of a sweep, as `handler.perform` does. pull_grace:
    how long after an apply an image may fail to be pulled. rules: how faults are answered.
    reclaim: when idle GPUs are taken; None for never.
    """
    prepare = partial(handler.prepare, rules=rules)
    conclude = partial(handler.conclude, pull_grace=pull_grace, rules=rules, reclaim=reclaim)
    return ClusterFunction("health-verification", handler.ACCEPTS, prepare, perform, conclude)
