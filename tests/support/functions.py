"""The functions of the chain, built as production builds them, on whatever cluster a test has."""

from collections.abc import Callable
from typing import Any

from functions.deployment_execution import function as deployment_execution
from functions.health_verification import function as health_verification
from shared.eventing.function import ClusterFunction
from shared.operations.apply import ClusterTask, TaskOutcome
from shared.operations.observe import Observed
from shared.operations.sweep import SweptPage
from shared.settings import DEFAULT_IMAGE_PULL_GRACE
from shared.store.unit_of_work import UnitOfWork
from tests.support.builders import INTAKE, POLICY, Function


class ChainFunctions:
    """Intake, policy, execution and verification. `routes` says which takes which event type.

    perform: what the cluster makes of a task. observe: what is seen there.
    """

    def __init__(
        self, perform: Callable[[ClusterTask], TaskOutcome], observe: Callable[[Any], Observed | SweptPage]
    ) -> None:
        self.execution: ClusterFunction[UnitOfWork, Any, Any] = deployment_execution.build(perform)
        self.verification: ClusterFunction[UnitOfWork, Any, Any] = health_verification.build(
            observe, pull_grace=DEFAULT_IMAGE_PULL_GRACE
        )
        functions: tuple[Function, ...] = (INTAKE, POLICY, self.execution, self.verification)
        self.routes: dict[str, Function] = {name: function for function in functions for name in function.accepts}
