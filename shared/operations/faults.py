"""What follows from a fault that an agent reports.

| to blame      | the fault is                        | what follows                                                  |
|---------------|-------------------------------------|---------------------------------------------------------------|
| pod           | raised                              | a note in the history of each workload                        |
| gpu, node     | raised                              | its node is excluded; each workload there is rescheduled      |
| gpu, node     | one of too many in its fleet        | a note; once, the fleet is suspect                            |
| gpu, node     | cleared, and the node's last        | its node is readmitted after the quiet time                   |

1. A fault has an id. Whatever is delivered of it again changes nothing.
2. A workload is rescheduled off a node once for each fault, and at most so many times an hour. While another plan of it
   is in progress, that comes first: it may move the workload anyway. The tick looks again.
3. Faults of one cluster are counted one after the other. When more than a set part of its GPU nodes complain within a
   window, the cause is a common one, such as a driver or the cooling. To exclude them all would stop everything.
4. A Job begins anew where it is rescheduled. So a fault that only slows it down leaves it where it is.

Locks: the fleet's row, then workloads by id, then the node's row. The tick has workloads locked already, so it takes
only what nobody else has locked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.errors import OperationRefused
from shared.models.faults import SLOWING, Departure, ResponseOutcome
from shared.models.lifecycle import ANNOUNCE_AGAIN, PLANS_IN_PROGRESS, SET_ASIDE_PHASES, PlanStatus, RevisionStatus
from shared.models.plan import ActionPlan, Decision, PlanSource, Verb, plan_id
from shared.models.telemetry import FaultState
from shared.operations import nodes
from shared.operations.propose import propose
from shared.operations.results import FleetIsSuspect, PlanWasProposed
from shared.rollout.manifests import excluded_nodes_of, surge_replicas

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    from pydantic import JsonValue

    from shared.models.actor import Actor
    from shared.models.deployment import Deployment
    from shared.models.faults import FaultReport, FaultRules
    from shared.models.stored import Workload
    from shared.operations.results import RolloutResult
    from shared.store.unit_of_work import UnitOfWork

AN_HOUR = timedelta(hours=1)
WAITING_AT_ONCE = 20
MAX_NAMED_NODES = 100
"""Of a suspect fleet. The message has their number."""


def report(work: UnitOfWork, fault: FaultReport, rules: FaultRules, actor: Actor) -> list[RolloutResult]:
    """Writes down that a fault begins or is over, and what follows. Raises OperationRefused for an unknown cluster."""
    if work.catalogue.cluster(fault.cluster) is None:
        raise OperationRefused("cluster", f"there is no cluster {fault.cluster[:80]}")
    suspected_since = work.faults.lock_fleet(fault.cluster)
    if fault.state is FaultState.CLEARED:
        _clear(work, fault, rules, actor)
        return []
    raised = work.faults.add_raised(fault, work.now)
    if not raised.new:
        return []
    work.audit("gpu.fault.raised", nodes.subject(fault.cluster, fault.node), actor, **_described(fault))
    affected = sorted(set(work.objects.workloads_of_pods(fault.cluster, fault.pods).values()))
    if not fault.of_hardware:
        _note_all(work, fault, affected, "the application is to blame", actor)
        return []
    complaining = work.faults.complaining_nodes(fault.cluster, work.now - rules.suspect_window)
    fleet = max(work.nodes.fleet_size(fault.cluster), len(complaining))
    if rules.has_common_cause(len(complaining), fleet):
        _note_all(work, fault, affected, "too many nodes of its cluster complain at once", actor)
        return [] if suspected_since else [_suspect(work, fault.cluster, complaining, fleet, rules, actor)]
    if suspected_since:
        work.faults.suspect_fleet(fault.cluster, None)
    workloads = {} if raised.over else work.workloads.lock_many(affected)
    nodes.exclude_at_fault(work, fault.cluster, fault.node, actor, fault=str(fault.id), reason=fault.message)
    if raised.over:
        work.nodes.start_proving(fault.cluster, fault.node, work.now + rules.quiet_time)
    results: list[RolloutResult] = []
    for workload_id, workload in sorted(workloads.items()):
        leaving = Departure(fault.id, workload_id, fault.cluster, fault.node, fault.kind, fault.message)
        answer = _decide(work, leaving, workload, rules)
        if answer.outcome is not ResponseOutcome.PROPOSED:
            _note(work, fault.id, workload_id, answer, _described(fault), actor)
        results += _carry_out(work, leaving, workload, answer, actor)
    return results


def look_at_waiting(work: UnitOfWork, rules: FaultRules, actor: Actor) -> list[RolloutResult]:
    """What the tick does: workloads that had to wait, for another plan or for the hour to pass, are looked at again."""
    waiting = work.faults.lock_waiting(work.now - ANNOUNCE_AGAIN, WAITING_AT_ONCE)
    workloads = work.workloads.lock_free({one.workload_id for one in waiting}) if waiting else {}
    results: list[RolloutResult] = []
    for leaving in waiting:
        # Popped: a workload that leaves one node now is not looked at for another one in the same transaction.
        if (workload := workloads.pop(leaving.workload_id, None)) is None:
            continue
        over = _Answer(ResponseOutcome.NOTED, "the fault is over")
        answer = over if leaving.over else _decide(work, leaving, workload, rules)
        if answer.outcome is ResponseOutcome.NOTED:
            _note(work, leaving.fault_id, workload.id, answer, {"node": leaving.node}, actor)
        results += _carry_out(work, leaving, workload, answer, actor)
    return results


@dataclass(frozen=True)
class _Answer:
    """What a workload does about a fault, and why. runs: the revision to move, where it is to be moved."""

    outcome: ResponseOutcome
    reason: str
    runs: Deployment | None = None


def _decide(work: UnitOfWork, leaving: Departure, workload: Workload, rules: FaultRules) -> _Answer:
    live = [
        one
        for one in work.deployments.live(workload.id)
        if one.cluster == leaving.cluster and one.status is not RevisionStatus.REMOVING
    ]
    if workload.withdrawn or not live:
        return _Answer(ResponseOutcome.NOTED, "it does not run there any more")
    runs = live[-1]
    if leaving.node in excluded_nodes_of(runs.manifest):
        return _Answer(ResponseOutcome.NOTED, "its newest revision avoids the node")
    if runs.reference.kind == "Job" and leaving.kind in SLOWING:
        return _Answer(ResponseOutcome.NOTED, "it is a Job, which would begin anew, and runs on more slowly")
    newest = work.plans.get(workload.plan_id)
    if newest is not None and newest.status in PLANS_IN_PROGRESS:
        return _Answer(ResponseOutcome.WAITING, f"plan {newest.id} is in progress")
    if work.faults.proposals_since(workload.id, work.now - AN_HOUR) >= rules.reschedules_per_hour:
        limit = f"it was rescheduled {rules.reschedules_per_hour} times within the hour"
        return _Answer(ResponseOutcome.WAITING, limit)
    return _Answer(ResponseOutcome.PROPOSED, f"node {leaving.node}: {leaving.message}", runs)


def _carry_out(
    work: UnitOfWork, leaving: Departure, workload: Workload, answer: _Answer, actor: Actor
) -> list[RolloutResult]:
    if answer.runs is None:
        work.faults.respond(leaving.fault_id, workload.id, answer.outcome, work.now)
        return []
    plan = _propose(work, leaving, workload, answer.runs, answer.reason, actor)
    work.faults.respond(leaving.fault_id, workload.id, answer.outcome, work.now, plan.id)
    return [PlanWasProposed(plan)]


def _propose(
    work: UnitOfWork, leaving: Departure, workload: Workload, runs: Deployment, reason: str, actor: Actor
) -> ActionPlan:
    """The revision that runs, on nodes that are not excluded. It takes what it has, and the surge of any rollout."""
    replicas, cluster = runs.amounts.replicas, runs.cluster
    plan = ActionPlan(
        id=plan_id(workload.id, f"fault {leaving.fault_id}"),
        workload_id=workload.id,
        generation=workload.generation,
        source=PlanSource.HEALTH,
        decision=Decision(verb=Verb.RESCHEDULE, cluster=cluster, replicas=replicas, revision=runs.revision),
        sku=runs.sku,
        amounts=runs.amounts,
        surge=runs.amounts.per_replica().times(surge_replicas(runs.reference.kind)),
        status=PlanStatus.PROPOSED,
    )
    set_aside = workload.phase in SET_ASIDE_PHASES
    proposed, _ = propose(
        work,
        plan,
        workload,
        actor,
        withdrawn=False,
        queued_plan_id=workload.plan_id if set_aside else workload.queued_plan_id,
        revision=runs.revision,
        fault=str(leaving.fault_id),
        reason=reason,
    )
    return proposed


def _clear(work: UnitOfWork, fault: FaultReport, rules: FaultRules, actor: Actor) -> None:
    if not work.faults.add_cleared(fault, work.now):
        return
    work.audit("gpu.fault.cleared", nodes.subject(fault.cluster, fault.node), actor, **_described(fault))
    if fault.of_hardware and not work.faults.is_at_fault(fault.cluster, fault.node):
        work.nodes.start_proving(fault.cluster, fault.node, work.now + rules.quiet_time)


def _suspect(
    work: UnitOfWork, cluster: str, complaining: Sequence[str], fleet: int, rules: FaultRules, actor: Actor
) -> FleetIsSuspect:
    work.faults.suspect_fleet(cluster, work.now)
    message = (
        f"{len(complaining)} of {fleet} GPU nodes of cluster {cluster} have failed within {rules.suspect_window}: "
        "look for a common cause; nothing is excluded or rescheduled for more of them"
    )
    named = tuple(complaining[:MAX_NAMED_NODES])
    share = round(len(complaining) / fleet, 4)
    work.audit("fleet.suspected", f"cluster/{cluster}", actor, nodes=[*named], share=share, message=message)
    return FleetIsSuspect(cluster, named, share, rules.suspect_window, message)


def _note_all(work: UnitOfWork, fault: FaultReport, workloads: Sequence[uuid.UUID], reason: str, actor: Actor) -> None:
    answer = _Answer(ResponseOutcome.NOTED, reason)
    for workload_id in workloads:
        work.faults.respond(fault.id, workload_id, answer.outcome, work.now)
        _note(work, fault.id, workload_id, answer, _described(fault), actor)


def _note(
    work: UnitOfWork,
    fault_id: uuid.UUID,
    workload_id: uuid.UUID,
    answer: _Answer,
    described: dict[str, JsonValue],
    actor: Actor,
) -> None:
    """In the history of a workload: what happened to the GPU of a pod, and why nothing follows, or not now."""
    detail = {**described, "fault": str(fault_id), "outcome": answer.outcome.value, "reason": answer.reason}
    work.audit("gpu.fault.noted", str(workload_id), actor, **detail)


def _described(fault: FaultReport) -> dict[str, JsonValue]:
    return {
        "fault": str(fault.id),
        "cluster": fault.cluster,
        "node": fault.node,
        "gpu": fault.gpu,
        "kind": fault.kind.value,
        "blame": fault.blame.value,
        "xid": fault.xid,
        "recommended": fault.action,
        "message": fault.message,
        "evidence": dict(fault.evidence),
    }
