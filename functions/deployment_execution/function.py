"""The function deployment-execution, built from its parts."""

from collections.abc import Callable
from typing import Any

from functions.deployment_execution import handler
from shared.eventing.function import ClusterFunction
from shared.operations.apply import ClusterTask, TaskOutcome
from shared.store.unit_of_work import UnitOfWork


def build(perform: Callable[[ClusterTask], TaskOutcome]) -> ClusterFunction[UnitOfWork, Any, TaskOutcome]:
    """perform: carries a task out on its cluster, as shared.operations.apply.carry_out does."""
    return ClusterFunction(
        "deployment-execution", handler.ACCEPTS, handler.prepare, perform, handler.conclude, handler.overtaken
    )
