"""Postpone a plan that cannot be executed now: the tick announces it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.models.lifecycle import Phase
from shared.operations.clusters import FIRST_BACKOFF, LONGEST_BACKOFF

if TYPE_CHECKING:
    from shared.models.actor import Actor
    from shared.models.plan import ActionPlan
    from shared.models.stored import Workload
    from shared.store.unit_of_work import UnitOfWork


def postpone(
    work: UnitOfWork, plan: ActionPlan, workload: Workload, message: str, actor: Actor, *, current: bool
) -> None:
    """Makes a plan wait for longer each time. message: what it waits for.

    current: whether the plan is its workload's newest, so that the workload waits too.
    """
    delay = min(FIRST_BACKOFF * 2 ** min(plan.attempts, 10), LONGEST_BACKOFF)
    work.plans.postpone(plan, work.now + delay, message)
    if current:
        work.workloads.advance(workload, Phase.WAITING, reason=message)
    if plan.attempts == 0:
        cluster = plan.decision.cluster
        work.audit("plan.waiting", str(workload.id), actor, plan=str(plan.id), cluster=cluster, reason=message)
