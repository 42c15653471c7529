"""What follows from a breach of a service level objective.

| what changed last is                                   | what is proposed                                  |
|--------------------------------------------------------|---------------------------------------------------|
| a deploy or update within the breach's longer window   | a rollback to the revision that was healthy before |
| anything else, or there is nothing to go back to       | a scale-up by a quarter, one replica at least      |
| of a Job, or an autoscaler chooses the replicas        | nothing                                            |

1. A breach leads to one plan at most, whatever is delivered of it again. Policy decides on the plan, as on any other.
2. A workload gets so many of these plans an hour; what comes then is a note. One cause often raises several breaches.
3. While another plan of the workload is in progress, that comes first. The tick looks again.

Locks: the workload, then the breach. The tick has workloads locked already, so it takes only what nobody else has.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.errors import OperationRefused, WrongState
from shared.models.faults import ResponseOutcome
from shared.models.lifecycle import ANNOUNCE_AGAIN, PLANS_IN_PROGRESS, SET_ASIDE_PHASES
from shared.models.plan import Decision, PlanSource, Verb, plan_id
from shared.operations.adopt import plan_of
from shared.operations.propose import propose
from shared.operations.results import PlanWasProposed
from shared.operations.rollback import RollBackWorkload, revision_to_restore, rollback_plan

if TYPE_CHECKING:
    from shared.models.actor import Actor
    from shared.models.deployment import Deployment
    from shared.models.plan import ActionPlan
    from shared.models.slo import Breach
    from shared.models.stored import Workload
    from shared.store.unit_of_work import UnitOfWork

AN_HOUR = timedelta(hours=1)
WAITING_AT_ONCE = 20


def answer(
    work: UnitOfWork, breach_id: uuid.UUID, workload_id: uuid.UUID, plans_per_hour: int, actor: Actor
) -> list[PlanWasProposed]:
    """What follows from a breach that was raised. Raises OperationRefused for one that does not exist."""
    workload = work.workloads.get(workload_id, lock=True)
    breach = work.breaches.lock(breach_id)
    if workload is None or breach is None or breach.workload_id != workload_id:
        raise OperationRefused("breach", f"workload {workload_id} has no breach {breach_id}")
    return [] if breach.outcome is not None else _answer(work, breach, workload, plans_per_hour, actor)


def look_at_waiting(work: UnitOfWork, plans_per_hour: int, actor: Actor) -> list[PlanWasProposed]:
    """What the tick does: breaches that had to wait for another plan are looked at again."""
    waiting = work.breaches.lock_waiting(work.now - ANNOUNCE_AGAIN, WAITING_AT_ONCE)
    workloads = work.workloads.lock_free(set(waiting)) if waiting else {}
    results: list[PlanWasProposed] = []
    for workload_id, workload in sorted(workloads.items()):
        results += _answer(work, waiting[workload_id], workload, plans_per_hour, actor)
    return results


@dataclass(frozen=True)
class _Noted:
    """Why a breach leads to nothing, or to nothing yet."""

    outcome: ResponseOutcome
    reason: str


def _answer(
    work: UnitOfWork, breach: Breach, workload: Workload, plans_per_hour: int, actor: Actor
) -> list[PlanWasProposed]:
    decided = _decide(work, breach, workload, plans_per_hour)
    if isinstance(decided, _Noted):
        work.breaches.respond(breach.id, decided.outcome, work.now)
        if decided.outcome is not breach.outcome:
            detail = {"breach": str(breach.id), "outcome": decided.outcome.value, "reason": decided.reason}
            work.audit("slo.breach.noted", str(workload.id), actor, **detail)
        return []
    set_aside = workload.phase in SET_ASIDE_PHASES
    work.breaches.respond(breach.id, ResponseOutcome.PROPOSED, work.now, decided.id)  # rollbacks are counted by cause
    proposed, _ = propose(
        work,
        decided,
        workload,
        actor,
        withdrawn=False,
        queued_plan_id=workload.plan_id if set_aside else workload.queued_plan_id,
        revision=decided.decision.revision,
        breach=str(breach.id),
    )
    if proposed.id != decided.id:  # somebody's plan had that id
        work.breaches.respond(breach.id, ResponseOutcome.PROPOSED, work.now, proposed.id)
    return [PlanWasProposed(proposed)]


def _decide(work: UnitOfWork, breach: Breach, workload: Workload, plans_per_hour: int) -> ActionPlan | _Noted:
    if breach.over_at is not None:
        return _Noted(ResponseOutcome.NOTED, "it is over")
    live = work.deployments.live(workload.id)
    if workload.withdrawn or not live:
        return _Noted(ResponseOutcome.NOTED, "the workload does not run")
    newest = work.plans.get(workload.plan_id)
    if newest is not None and newest.status in PLANS_IN_PROGRESS:
        return _Noted(ResponseOutcome.WAITING, f"plan {newest.id} is in progress")
    if work.breaches.proposals_since(workload.id, work.now - AN_HOUR) >= plans_per_hour:
        return _Noted(ResponseOutcome.NOTED, f"breaches have led to {plans_per_hour} plans within the hour")
    reasons = []
    for make in (_roll_back, _scale_up):
        try:
            return make(work, breach, workload, live[-1])
        except (WrongState, OperationRefused) as refused:
            reasons.append(str(refused))
    return _Noted(ResponseOutcome.NOTED, "; ".join(reasons))


def _roll_back(work: UnitOfWork, breach: Breach, workload: Workload, runs: Deployment) -> ActionPlan:
    """Raises WrongState where what changed last is no deploy or update within the window, and as rollback does."""
    changed_at = runs.applied_at or runs.created_at
    made_by = work.plans.get(runs.plan_id)
    is_a_change = made_by is not None and made_by.decision.verb in (Verb.DEPLOY, Verb.UPDATE)
    if runs.rollback_of is not None or not is_a_change:
        raise WrongState("what changed last is no deploy or update")
    if changed_at is None or changed_at < breach.raised_at - breach.crossing.long:
        raise WrongState(f"nothing has changed within {breach.crossing.long}")
    command = RollBackWorkload(workload, _cause(breach))
    return rollback_plan(command, revision_to_restore(work, command), PlanSource.HEALTH)


def _scale_up(work: UnitOfWork, breach: Breach, workload: Workload, runs: Deployment) -> ActionPlan:
    """Raises OperationRefused as a decision service's plan does: an autoscaler, say, chooses the replicas itself."""
    replicas = runs.amounts.replicas
    if replicas == 0:
        raise WrongState("it was scaled to no replicas")
    decision = Decision(verb=Verb.SCALE, cluster=runs.cluster, replicas=replicas + max(1, replicas // 4))
    return plan_of(work, plan_id(workload.id, _cause(breach)), PlanSource.HEALTH, decision, workload)


def _cause(breach: Breach) -> str:
    return f"breach {breach.id}"
