"""The function health-verification, built from its parts."""

from collections.abc import Callable
from typing import Any

from functions.health_verification import handler
from functions.health_verification.observing import Seen, Watch
from shared.eventing.function import ClusterFunction
from shared.store.unit_of_work import UnitOfWork


def build(observe: Callable[[Watch], Seen]) -> ClusterFunction[UnitOfWork, Any, Seen]:
    """observe: looks at revisions on their clusters; what `observing.Observer` does."""
    return ClusterFunction("health-verification", handler.ACCEPTS, handler.prepare, observe, handler.conclude)
