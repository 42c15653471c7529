"""The functions-framework target of policy-evaluation."""

from events import CATALOGUE
from events.foreign import Tick
from events.plan import PlanProposed, PlanReconsidered
from events.policy import PolicyChanged, QueueContinued, ReservationReleased
from functions.policy_evaluation.handler import Evaluation
from functions.runtime import function_target
from shared.eventing.function import TransactionalFunction
from shared.settings import FunctionSettings

handle = function_target(
    TransactionalFunction(
        "policy-evaluation",
        CATALOGUE.of(PlanProposed, PlanReconsidered, Tick, PolicyChanged, ReservationReleased, QueueContinued),
        Evaluation().handle,
    ),
    FunctionSettings.from_environment(),
)
