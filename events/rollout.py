"""The event that tells of a result: one place for every function that reports on a rollout."""

from collections.abc import Mapping

from events.deployment import (
    DeploymentApplied,
    DeploymentData,
    DeploymentFailed,
    DeploymentHealthy,
    DeploymentRemoved,
    DeploymentRolledBack,
    DeploymentUnhealthy,
    FieldOwner,
)
from events.plan import PlanApproved, PlanProposed
from events.policy import ReservationReleased
from events.telemetry import FleetSuspect, GpuIdle
from shared.eventing.event import Outgoing
from shared.eventing.event_types import EventData
from shared.models.plan import ActionPlan
from shared.operations.results import (
    FleetIsSuspect,
    GpusAreIdle,
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

_OF_REVISIONS: Mapping[type[object], type[DeploymentData]] = {
    RevisionWasApplied: DeploymentApplied,
    RevisionWasRemoved: DeploymentRemoved,
    RevisionWasRefused: DeploymentFailed,
    RevisionIsHealthy: DeploymentHealthy,
    RevisionWasRolledBack: DeploymentRolledBack,
    RevisionIsUnhealthy: DeploymentUnhealthy,
}
EVENTS: Mapping[type[object], type[EventData]] = {
    PlanWasProposed: PlanProposed,
    PlanIsDue: PlanApproved,
    ReservationWasReleased: ReservationReleased,
    FleetIsSuspect: FleetSuspect,
    GpusAreIdle: GpuIdle,
    **_OF_REVISIONS,
}
"""The event of each result."""


def outgoing(result: RolloutResult) -> Outgoing:
    """The event of one result. Its subject is the id of the workload."""
    data: DeploymentData
    match result:
        case PlanWasProposed(plan):
            return proposal(plan)
        case PlanIsDue(plan):
            due = PlanApproved.of(plan, usd_per_hour=plan.amounts.usd_per_hour)
            return Outgoing(due, str(plan.workload_id), plan.traceparent)
        case ReservationWasReleased(workload_id, released):
            return Outgoing(ReservationReleased(workload=str(workload_id), released=released), str(workload_id))
        case FleetIsSuspect(cluster, nodes, share, window, message):
            suspect = FleetSuspect(cluster=cluster, nodes=nodes, share=share, window=window, message=message)
            return Outgoing(suspect, f"cluster/{cluster}")
        case GpusAreIdle(workload_id, cluster, gpus, usd_per_hour, window, reclaim_at):
            idle = GpuIdle(
                workload=workload_id,
                cluster=cluster,
                gpus=gpus,
                usd_per_hour=usd_per_hour,
                window=window,
                reclaim_at=reclaim_at,
            )
            return Outgoing(idle, str(workload_id))
        case RevisionWasApplied(deployment, taken, left):
            fields = {"taken_fields": FieldOwner.all_of(taken), "left_fields": FieldOwner.all_of(left)}
            data = DeploymentApplied.of(deployment, **fields)
        case RevisionWasRemoved(deployment):
            data = DeploymentRemoved.of(deployment)
        case _:
            deployment = result.deployment
            data = _OF_REVISIONS[type(result)].of(deployment, reason=result.reason, message=result.message)
    return Outgoing(data, str(deployment.workload_id), deployment.traceparent)


def proposal(plan: ActionPlan) -> Outgoing:
    """plan.proposed, with the plan's price."""
    data = PlanProposed.of(plan, source=plan.source, usd_per_hour=plan.amounts.usd_per_hour)
    return Outgoing(data, str(plan.workload_id), plan.traceparent)
