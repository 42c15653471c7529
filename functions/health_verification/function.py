"""The function health-verification, built from its parts."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from functions.health_verification import handler
from shared.eventing.function import ClusterFunction
from shared.store.unit_of_work import UnitOfWork


def build(perform: Callable[[Any], Any], *, pull_grace: timedelta) -> ClusterFunction[UnitOfWork, Any, Any]:
    """perform: observes revisions on their clusters, or reads a page of a sweep, as `handler.perform` does. pull_grace:
    how long after an apply an image may fail to be pulled.
    """
    conclude = partial(handler.conclude, pull_grace=pull_grace)
    return ClusterFunction("health-verification", handler.ACCEPTS, handler.prepare, perform, conclude)
