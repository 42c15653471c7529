"""The event that tells of a result: one place for every function that reports on a rollout."""

from events.deployment import (
    DeploymentApplied,
    DeploymentFailed,
    DeploymentHealthy,
    DeploymentRemoved,
    DeploymentRolledBack,
    DeploymentUnhealthy,
)
from events.plan import PlanApproved, PlanProposed
from events.policy import ReservationReleased
from shared.eventing.event import EventData, Outgoing
from shared.models.plan import ActionPlan
from shared.operations.results import (
    PlanIsDue,
    PlanWasProposed,
    ReservationWasReleased,
    RevisionIsHealthy,
    RevisionIsUnhealthy,
    RevisionWasApplied,
    RevisionWasRefused,
    RevisionWasRemoved,
    RevisionWasRolledBack,
    RolloutResult,
)


def outgoing(result: RolloutResult) -> Outgoing:
    """The event of one result. Its subject is the id of the workload."""
    match result:
        case PlanWasProposed(plan):
            return proposal(plan)
        case PlanIsDue(plan):
            return Outgoing(PlanApproved.of(plan, usd_per_hour=plan.amounts.usd_per_hour), str(plan.workload_id))
        case ReservationWasReleased(workload_id):
            return Outgoing(ReservationReleased(workload=str(workload_id)), str(workload_id))
        case _:
            return Outgoing(_of_revision(result), str(result.deployment.workload_id))


def proposal(plan: ActionPlan) -> Outgoing:
    """plan.proposed, with the plan's price."""
    data = PlanProposed.of(plan, source=plan.source, usd_per_hour=plan.amounts.usd_per_hour)
    return Outgoing(data, str(plan.workload_id))


def _of_revision(
    result: RevisionWasApplied
    | RevisionWasRefused
    | RevisionWasRemoved
    | RevisionIsHealthy
    | RevisionWasRolledBack
    | RevisionIsUnhealthy,
) -> EventData:
    match result:
        case RevisionWasApplied(deployment):
            return DeploymentApplied.of(deployment)
        case RevisionWasRemoved(deployment):
            return DeploymentRemoved.of(deployment)
        case RevisionWasRefused(deployment, reason, message):
            return DeploymentFailed.of(deployment, reason=reason, message=message)
        case RevisionIsHealthy(deployment, reason, message):
            return DeploymentHealthy.of(deployment, reason=reason, message=message)
        case RevisionWasRolledBack(deployment, reason, message):
            return DeploymentRolledBack.of(deployment, reason=reason, message=message)
        case RevisionIsUnhealthy(deployment, reason, message):
            return DeploymentUnhealthy.of(deployment, reason=reason, message=message)
