"""What verification does with its events: each says what to observe, and what is observed decides.

An applied or removed revision, an API server's notice or a breach name what to observe. The tick observes what
nobody announced, one page at a time. So a lost notice costs time, never truth. Plans that are due are announced a page
at a time too: all of a cluster's are due at once when it is available again. What has settled is compared with the
lists of its cluster, by sweeps; see shared.operations.sweep.

A fault of a GPU is answered without observing anything; see shared.operations.faults. A breach of an objective is
answered after its workload was observed: what is found to be unhealthy is rolled back for that; see
shared.operations.breaches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from events import CATALOGUE
from events.continuation import TICK_SUBJECT, SweepContinued, VerificationContinued
from events.deployment import DeploymentApplied, DeploymentRemoved
from events.foreign import ObjectAdded, ObjectDeleted, ObjectReferenceData, ObjectUpdated, Tick
from events.plan import PlanProposed
from events.rollout import outgoing
from events.telemetry import GpuFault, SloBreached
from shared.errors import OperationRefused
from shared.eventing.event import Event, Outgoing
from shared.eventing.function import Done
from shared.models.actor import Actor
from shared.models.faults import FaultReport
from shared.models.slo import BreachState
from shared.models.telemetry import agent_source
from shared.operations import breaches, faults, nodes, observation_tasks, sweep, verify
from shared.operations.apply import Clusters
from shared.operations.observe import ObservationTask, Observed, observe
from shared.operations.reclaim import reclaim_idle
from shared.operations.reconcile import Verification
from shared.operations.sweep import SweepStep, SweepTask, SweptPage

if TYPE_CHECKING:
    from shared.models.faults import FaultRules
    from shared.models.idle import ReclaimRules
    from shared.operations.results import RolloutResult
    from shared.store.unit_of_work import UnitOfWork

ACCEPTS = CATALOGUE.of(
    DeploymentApplied,
    DeploymentRemoved,
    GpuFault,
    SloBreached,
    ObjectAdded,
    ObjectUpdated,
    ObjectDeleted,
    Tick,
    VerificationContinued,
    SweepContinued,
)
ACTOR = Actor.function("health-verification")
LOOK_SECONDS = 5
"""Idle GPUs are looked for by the ticks of the first seconds of a minute: one, at the usual interval of ticks."""


@dataclass(frozen=True)
class Rules:
    """How to verify. pull_grace: see shared.rollout.verdict. reclaim: when idle GPUs are taken; None for never.
    breach_plans_per_hour: of one workload.
    """

    pull_grace: timedelta
    of_faults: FaultRules
    reclaim: ReclaimRules | None
    breach_plans_per_hour: int


def prepare(event: Event, work: UnitOfWork, *, rules: Rules) -> ObservationTask | SweepTask | Done:
    """What to observe. Raises OperationRefused for a revision that does not exist, and for a page of no tick.

    A fault is answered at once: what its agent saw need not be observed.
    """
    if isinstance(event.data, GpuFault):
        results = faults.report(work, _fault(event.source, event.data), rules.of_faults, ACTOR)
        return Done([outgoing(result) for result in results])
    return _task(event, work) or Done(_answer_breach(event, work, rules))


def perform(clusters: Clusters, task: ObservationTask | SweepTask) -> Observed | SweptPage:
    """Asks the clusters."""
    return sweep.read(clusters, task) if isinstance(task, SweepTask) else observe(clusters, task)


def conclude(
    event: Event,
    task: ObservationTask | SweepTask,
    found: Observed | SweptPage,
    work: UnitOfWork,
    *,
    rules: Rules,
) -> Sequence[Outgoing]:
    """What follows. The first event is the reply, and the others wait for the relay: proposals come first, then the
    continuations, so that pages need not wait for each other.
    """
    if isinstance(task, SweepTask) and isinstance(found, SweptPage):
        step = sweep.conclude(work, task, found, ACTOR)
        return [] if step is None else [_continued(step)]
    assert isinstance(task, ObservationTask)
    assert isinstance(found, Observed)
    emitted = _concluded(event, task, found, work, rules)
    if isinstance(event.data, Tick):
        emitted += map(outgoing, _followed_up(work, rules))
        emitted += map(_continued, sweep.due(work))
    emitted += _answer_breach(event, work, rules)
    return sorted(emitted, key=_urgency)


def _concluded(
    event: Event, task: ObservationTask, observed: Observed, work: UnitOfWork, rules: Rules
) -> list[Outgoing]:
    # With the function's own name: intake makes plans of (source, id) too, and a caller may use an id twice.
    cause = f"health-verification\n{event.source}\n{event.id}"
    verified = verify.conclude(work, task, observed, Verification(cause, rules.pull_grace), ACTOR)
    emitted = [outgoing(result) for result in verified.results]
    if (page := verified.next_page) is not None:
        emitted.append(Outgoing(VerificationContinued(started_at=page.started_at, page=page.page), TICK_SUBJECT))
    return emitted


def _followed_up(work: UnitOfWork, rules: Rules) -> list[RolloutResult]:
    """What the tick does about faults and breaches, and about idle GPUs once a minute, where an operator wants that."""
    nodes.clear_proven(work, ACTOR)
    results = faults.look_at_waiting(work, rules.of_faults, ACTOR)
    results += breaches.look_at_waiting(work, rules.breach_plans_per_hour, ACTOR)
    if rules.reclaim is not None and work.now.second < LOOK_SECONDS:
        results += reclaim_idle(work, rules.reclaim, ACTOR)
    return results


def _answer_breach(event: Event, work: UnitOfWork, rules: Rules) -> list[Outgoing]:
    """What follows from a breach that begins; nothing from any other event, and from one that only asks for a look."""
    told = event.data
    if not isinstance(told, SloBreached) or told.breach is None or told.state is BreachState.OVER:
        return []
    workload_id = observation_tasks.workload_of(told.workload)
    results = breaches.answer(work, told.breach, workload_id, rules.breach_plans_per_hour, ACTOR)
    return [outgoing(result) for result in results]


def _continued(step: SweepStep) -> Outgoing:
    return Outgoing(SweepContinued(cluster=step.cluster, page=step.page, chain=step.chain), f"cluster/{step.cluster}")


def _task(event: Event, work: UnitOfWork) -> ObservationTask | SweepTask | None:
    match event.data:
        case DeploymentApplied() | DeploymentRemoved():
            return observation_tasks.for_revision(work, event.data.deployment)
        case ObjectReferenceData(kind=kind, namespace=namespace, name=name):
            if isinstance(event.data, ObjectDeleted):
                return observation_tasks.for_deletion(work, kind, namespace, name)
            return observation_tasks.for_object(work, kind, namespace, name, event.time)
        case SloBreached(workload=workload, state=state):
            return None if state is BreachState.OVER else observation_tasks.for_workloads(work, (workload,))
        case VerificationContinued():
            return observation_tasks.for_page(work, event.data.started_at, event.data.page)
        case SweepContinued(cluster=cluster, page=page, chain=chain):
            return sweep.claim(work, SweepStep(cluster, page, chain))
        case _:
            return observation_tasks.for_tick(work)


def _fault(source: str, told: GpuFault) -> FaultReport:
    """Raises OperationRefused for what is said of a node by anybody but its agent."""
    if source != agent_source(told.cluster, told.node):
        raise OperationRefused(
            "node", f"{source[:200]} is not the agent of node {told.node[:100]} of {told.cluster[:100]}"
        )
    return FaultReport(
        id=told.fault,
        cluster=told.cluster,
        node=told.node,
        gpu=told.gpu,
        kind=told.kind,
        state=told.state,
        blame=told.blame,
        observed_at=told.observed_at,
        xid=told.xid,
        action=told.action,
        message=told.message,
        evidence=told.evidence,
        pods=frozenset((one.namespace, one.pod) for one in told.containers),
    )


def _urgency(emitted: Outgoing) -> int:
    if isinstance(emitted.data, PlanProposed):
        return 0
    return 1 if isinstance(emitted.data, VerificationContinued | SweepContinued) else 2
