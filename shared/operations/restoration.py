"""Restore revisions because of what was observed: an earlier one after a failure, or the one that should be there.

What somebody changed or deleted on a cluster is restored by a plan, as a rollback is. Policy decides on it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.models.amounts import NOTHING
from shared.models.lifecycle import SET_ASIDE_PHASES, SETTLED_REVISIONS
from shared.models.plan import PlanSource, Verb
from shared.operations.propose import propose
from shared.operations.rollback import RollBackWorkload, rollback_plan
from shared.rollout.drift import SweepFinding, drift
from shared.rollout.verdict import State, Verdict

if TYPE_CHECKING:
    from datetime import datetime

    from shared.models.actor import Actor
    from shared.models.deployment import Deployment
    from shared.models.plan import ActionPlan
    from shared.models.stored import Workload
    from shared.rollout.observation import Observation
    from shared.store.unit_of_work import UnitOfWork

RESTORE_INTERVAL = timedelta(minutes=10)
"""How often a changed revision is restored at most, when somebody changes it again and again."""

_DIFFERENCES = {
    SweepFinding.CHANGED: Verdict(State.UNHEALTHY, "Changed", "somebody changed a field that Sentinel had applied"),
    SweepFinding.OLDER_REVISION: Verdict(State.UNHEALTHY, "OlderRevision", "the cluster has an older revision"),
}
"""What is said of a settled revision that is restored."""


def drift_to_restore(
    revision: Deployment, workload: Workload, observation: Observation, now: datetime
) -> Verdict | None:
    """How a suspect differs from what was applied; None for others, and for one that was restored lately."""
    live = observation.object
    if revision.suspected_at is None or revision.status not in SETTLED_REVISIONS or live is None:
        return None
    restored_at = None if revision.rollback_of is None else revision.applied_at
    restored_lately = restored_at is not None and now - restored_at < RESTORE_INTERVAL
    if restored_lately or workload.withdrawn:
        return None
    differs = drift(revision, live)
    return None if differs is None else _DIFFERENCES[differs]


def may_roll_back(work: UnitOfWork, revision: Deployment, workload: Workload) -> bool:
    """Not what restores an earlier revision itself; nor one that was rescheduled: the earlier one is the same."""
    if revision.rollback_of is not None or revision.reference.kind == "Job" or workload.withdrawn:
        return False
    plan = work.plans.get(revision.plan_id)
    return plan is None or plan.decision.verb is not Verb.RESCHEDULE


def propose_restoration(
    work: UnitOfWork,
    command: RollBackWorkload,
    target: Deployment,
    because_of: Deployment,
    reason: str,
    actor: Actor,
    *,
    missing: bool = False,
) -> tuple[ActionPlan, Workload]:
    """Proposes to apply a revision's manifest again, and returns the plan and the workload as they are then.

    because_of: what has become of this revision; its trace goes on. missing: whether nothing of it runs, so that
    nothing surges. A workload whose newest plan is queued keeps its place in the queue.
    """
    workload = command.workload
    plan = replace(rollback_plan(command, target, PlanSource.HEALTH), traceparent=because_of.traceparent)
    return propose(
        work,
        replace(plan, surge=NOTHING) if missing else plan,
        workload,
        actor,
        withdrawn=False,
        queued_plan_id=workload.plan_id if workload.phase in SET_ASIDE_PHASES else workload.queued_plan_id,
        revision=target.revision,
        reason=reason,
    )
