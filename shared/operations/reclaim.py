"""Take idle GPUs from workloads that were told so before, where an operator wants that.

| the workload's GPUs are                       | what follows                                                  |
|-----------------------------------------------|---------------------------------------------------------------|
| all idle, for the first time                  | it is told: an event, and a note in its history               |
| all idle, long enough after it was told       | a plan scales it to no replicas; policy decides as on any     |
| not all idle, or not all are reported on      | what it was told is taken back                                |

A Job is told and left as it is: it would have to begin anew. So is what does not run as it was submitted. Whoever
submits the workload again gets its replicas back.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING

from shared.models.amounts import NOTHING
from shared.models.lifecycle import Phase, PlanStatus
from shared.models.plan import ActionPlan, Decision, PlanSource, Verb, plan_id
from shared.operations.propose import propose
from shared.operations.results import GpusAreIdle, PlanWasProposed
from shared.rollout import occupancy
from shared.rollout.planning import scales

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    from shared.models.actor import Actor
    from shared.models.idle import IdleGpu, ReclaimRules
    from shared.models.stored import Workload
    from shared.operations.results import RolloutResult
    from shared.store.unit_of_work import UnitOfWork


def reclaim_idle(work: UnitOfWork, rules: ReclaimRules, actor: Actor) -> list[RolloutResult]:
    """Tells workloads that their GPUs are idle, and proposes to take them where the time for that has come."""
    idle = _idle_workloads(work, rules)
    warnings = work.idle.warnings()
    for workload_id in sorted(warnings.keys() - idle.keys()):
        if work.idle.end_warning(workload_id):
            work.audit("gpu.idle.over", str(workload_id), actor)
    results: list[RolloutResult] = [
        _told(work, workload_id, idle[workload_id], rules, actor)
        for workload_id in sorted(idle.keys() - warnings.keys())
        if work.idle.warn(workload_id, work.now)
    ]
    due = [
        one.workload_id
        for one in warnings.values()
        if one.workload_id in idle and one.plan_id is None and one.warned_at + rules.warning <= work.now
    ]
    for _, workload in sorted(work.workloads.lock_free(due).items() if due else ()):
        if (plan := _scale_to_nothing(work, workload, actor)) is not None:
            work.idle.plan_reclaim(workload.id, plan.id)
            results.append(PlanWasProposed(plan))
    return results


def _idle_workloads(work: UnitOfWork, rules: ReclaimRules) -> dict[uuid.UUID, Sequence[IdleGpu]]:
    """The idle GPUs of each workload that has no others."""
    found: dict[uuid.UUID, list[IdleGpu]] = defaultdict(list)
    for gpu in work.idle.gpus(rules.idle, work.now):
        found[gpu.workload_id].append(gpu)
    return {one: gpus for one, gpus in found.items() if len(gpus) >= gpus[0].workload_gpus}


def _told(
    work: UnitOfWork, workload_id: uuid.UUID, gpus: Sequence[IdleGpu], rules: ReclaimRules, actor: Actor
) -> GpusAreIdle:
    usd_per_hour = round(sum((one.usd_per_hour for one in gpus), Decimal(0)), 6)
    told = GpusAreIdle(
        workload_id, gpus[0].cluster, len(gpus), usd_per_hour, rules.idle.window, work.now + rules.warning
    )
    work.audit(
        "gpu.idle.warned",
        str(workload_id),
        actor,
        cluster=told.cluster,
        gpus=told.gpus,
        usd_per_hour=str(usd_per_hour),
        reclaim_at=told.reclaim_at.isoformat(),
    )
    return told


def _scale_to_nothing(work: UnitOfWork, workload: Workload, actor: Actor) -> ActionPlan | None:
    """The plan; None for a Job, and while something else is done to the workload, or something else of it runs."""
    if workload.spec.type.kind == "Job" or workload.phase is not Phase.HEALTHY or workload.withdrawn:
        return None
    spec = workload.spec.with_most_replicas(0)
    cluster, live = work.catalogue.cluster(workload.cluster), work.deployments.live(workload.id)
    if cluster is None or not scales(spec, live, cluster.products):
        return None
    newest, sku = live[-1], spec.resources.gpu.sku or ""
    held = work.ledger.reserved(workload.id, workload.cluster)
    surge = occupancy.remaining_surge(sku, live, held)
    plan = ActionPlan(
        id=plan_id(workload.id, f"idle GPUs at {work.now.isoformat()}"),
        workload_id=workload.id,
        generation=workload.generation,
        source=PlanSource.HEALTH,
        decision=Decision(verb=Verb.SCALE, cluster=workload.cluster, replicas=0),
        sku=sku,
        amounts=NOTHING,
        surge=newest.amounts.per_replica().times(surge),
        status=PlanStatus.PROPOSED,
    )
    proposed, _ = propose(work, plan, workload, actor, withdrawn=False, reason="all of its GPUs are idle")
    return proposed
