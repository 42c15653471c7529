"""Withdraw a workload: a plan is proposed that removes what runs of it.

A withdrawal with a generation may come before the first submission of its workload. It is remembered, so that no
submission up to this generation is taken after it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shared.errors import OperationRefused
from shared.models.amounts import NOTHING
from shared.models.lifecycle import Phase, PlanStatus
from shared.models.plan import ActionPlan, Decision, PlanSource, Verb, plan_id
from shared.models.workload import workload_id
from shared.operations.propose import propose
from shared.rollout.planning import withdrawn_generation

if TYPE_CHECKING:
    from shared.models.actor import Actor
    from shared.store.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class WithdrawWorkload:
    """Which workload should be gone. cause: names what led to it; the plan's id follows from it.

    generation: the highest that is meant; None for whatever there is.
    """

    team: str
    namespace: str
    name: str
    cause: str
    generation: int | None = None


def withdraw(work: UnitOfWork, command: WithdrawWorkload, actor: Actor) -> ActionPlan | None:
    """The plan that was proposed; None when there is nothing to remove. Raises OperationRefused.

    A withdrawal that has failed is taken again.
    """
    identity = workload_id(command.team, command.namespace, command.name)
    known, withdrawn = work.workloads.lock_with_withdrawal(identity)
    if known is None:
        if command.generation is None:
            full_name = f"{command.team}/{command.namespace}/{command.name}"
            raise OperationRefused("name", f"there is no workload {full_name}")
        if command.generation > withdrawn:
            work.workloads.remember_withdrawal(identity, command.generation)
            work.audit("workload.withdrawn", str(identity), actor, generation=command.generation)
        return None
    if known.withdrawn and known.phase is not Phase.FAILED:
        if command.generation is not None and command.generation > known.generation:
            work.workloads.replace(replace(known, generation=command.generation))
        return None
    generation = withdrawn_generation(command.generation, known)
    plan = ActionPlan(
        id=plan_id(known.id, command.cause),
        workload_id=known.id,
        generation=generation,
        source=PlanSource.USER,
        decision=Decision(verb=Verb.REMOVE, cluster=known.cluster, replicas=0),
        sku="",
        amounts=NOTHING,
        surge=NOTHING,
        status=PlanStatus.PROPOSED,
    )
    proposed, _ = propose(work, plan, replace(known, generation=generation), actor, withdrawn=True)
    return proposed
