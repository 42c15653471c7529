"""The function deployment-execution, built from its parts."""

from collections.abc import Callable
from typing import Any

from functions.deployment_execution import handler
from functions.deployment_execution.performing import Outcome, Task
from shared.eventing.function import ClusterFunction
from shared.store.unit_of_work import UnitOfWork


def build(perform: Callable[[Task], Outcome]) -> ClusterFunction[UnitOfWork, Any, Outcome]:
    """perform: brings a task onto its cluster; what `performing.Performer` does."""
    return ClusterFunction(
        "deployment-execution", handler.ACCEPTS, handler.prepare, perform, handler.conclude, handler.overtaken
    )
