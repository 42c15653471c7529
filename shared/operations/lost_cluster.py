"""Declare a cluster lost: nothing that was there comes back, so its workloads fail or are placed elsewhere.

The operator's word stands for what nobody can observe: every object of the cluster, and every pod, is gone. So each
revision there ends, and what its workload has reserved there goes back to the ledger.

| workload                                   | fail     | reschedule                                        |
|--------------------------------------------|----------|---------------------------------------------------|
| withdrawn                                  | removed  | removed                                           |
| completed, or failed or denied with        | as it is | as it is                                          |
| nothing that runs                          |          |                                                   |
| rolled back, failed or denied, while an    | failed   | what ran is restored elsewhere                    |
| earlier revision runs                      |          |                                                   |
| any other                                  | failed   | what was submitted is deployed elsewhere          |

A workload that no other cluster can take has failed. A plan that is proposed here is held against policy like any
other. The first transaction says that the cluster is lost; then come pages of workloads. Who is cut off between them
declares it lost again: what was done already is passed over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from shared.errors import OperationRefused
from shared.models.amounts import NOTHING, Amounts
from shared.models.changes import changes
from shared.models.cluster import ClusterState
from shared.models.lifecycle import PLANS_UNDER_WAY, SETTLED_REVISIONS, UNDECIDED_PLANS, Phase, PlanStatus
from shared.models.plan import ActionPlan, Decision, PlanSource, Verb, plan_id
from shared.models.reservation import Reservation
from shared.operations.clusters import get_cluster
from shared.operations.propose import add_plan
from shared.operations.reservations import release
from shared.operations.results import PlanWasProposed
from shared.rollout import planning
from shared.rollout.pricing import Prices

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    from shared.models.actor import Actor
    from shared.models.cluster import Cluster
    from shared.models.deployment import Deployment
    from shared.models.stored import Workload
    from shared.operations.results import RolloutResult
    from shared.store.unit_of_work import UnitOfWork

PAGE = 100
_NOT_AS_SUBMITTED = (Phase.ROLLED_BACK, Phase.FAILED, Phase.DENIED)
"""If something runs, it is another revision than the newest submission would be."""


class Fate(StrEnum):
    """What an operator wants to become of the workloads of a lost cluster."""

    FAIL = "fail"
    RESCHEDULE = "reschedule"


class LossOutcome(StrEnum):
    """What became of a workload. RELEASED: it is as it was, and holds nothing on the cluster any more."""

    FAILED = "failed"
    RESCHEDULED = "rescheduled"
    REMOVED = "removed"
    RELEASED = "released"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class LostWorkload:
    """A workload of a lost cluster. cluster: where it is placed now, "" for nowhere. reason: why it has failed."""

    id: uuid.UUID
    label: str
    outcome: LossOutcome
    cluster: str = ""
    reason: str = ""


@dataclass(frozen=True)
class LossPage:
    """What became of one page of workloads, by id. results: what follows, to be announced."""

    workloads: Sequence[LostWorkload]
    results: Sequence[RolloutResult]


Planned = dict[tuple[str, str], Amounts]
"""What was proposed for other clusters so far, by (cluster, GPU SKU): it counts before it is reserved."""


def declare_lost(work: UnitOfWork, name: str, fate: Fate, actor: Actor) -> None:
    """Says that a cluster is lost: nothing is placed on it, and it is not asked any more. Raises NotFound.

    Whatever was placed on it before can be seen by the next transaction.
    """
    work.catalogue.lock_clusters()
    cluster = get_cluster(work, name)
    work.catalogue.set_state(cluster, ClusterState.LOST)
    changed = changes({"state": cluster.state}, {"state": ClusterState.LOST})
    work.audit("cluster.lost", f"cluster/{name}", actor, workloads=fate, before=cluster.state, changes=changed)


def end_page(work: UnitOfWork, name: str, fate: Fate, after: uuid.UUID, planned: Planned, actor: Actor) -> LossPage:
    """Ends what the next workloads, by id, have on a lost cluster; no workloads when there are no more.

    planned: of the pages before; what this page proposes is added.
    """
    return _Loss(work, name, fate, planned, actor).end(work.workloads.on_cluster(name, after, PAGE))


class _Loss:
    def __init__(self, work: UnitOfWork, name: str, fate: Fate, planned: Planned, actor: Actor) -> None:
        self._work = work
        self._name = name
        self._fate = fate
        self._planned = planned
        self._reserved: Planned = {}
        self._actor = actor
        self._reason = f"ClusterLost: cluster {name} was declared lost"
        self._proposed: list[RolloutResult] = []
        self._clusters: list[Cluster] = []

    def end(self, found: Sequence[tuple[uuid.UUID, str]]) -> LossPage:
        if not found:
            return LossPage((), ())
        work, ids = self._work, [workload_id for workload_id, _ in found]
        if self._fate is Fate.RESCHEDULE:
            self._clusters = work.catalogue.clusters()
            self._reserved = work.catalogue.reserved()
            _add(self._reserved, self._planned)
        workloads = work.workloads.lock_many(ids)
        plans = work.plans.get_many([workload.plan_id for workload in workloads.values()])
        live: dict[uuid.UUID, list[Deployment]] = {}
        for revision in work.deployments.live_of(workloads.keys(), manifests=False):
            live.setdefault(revision.workload_id, []).append(revision)
        work.deployments.end_with_cluster(workloads.keys(), self._name, work.now)
        settlements = [
            (Reservation(workload.id, self._name, workload.spec.team, {}), workload.plan_id)
            for _, workload in sorted(workloads.items())
        ]
        ended = []
        for workload_id, label in found:
            if (workload := workloads.get(workload_id)) is None:
                reason = "its row cannot be read by this release; see the log"
                ended.append(LostWorkload(workload_id, label, LossOutcome.UNREADABLE, reason=reason))
                continue
            plan = plans.get(workload.plan_id)
            one = self._end(workload, live.get(workload_id, []), plan)
            detail = {"outcome": one.outcome.value, "to": one.cluster, "reason": one.reason}
            changed = changes(_state(workload), _state_after(workload, one))
            subject = str(workload_id)
            work.audit("workload.cluster_lost", subject, self._actor, cluster=self._name, **detail, changes=changed)
            ended.append(one)
        return LossPage(ended, [*self._proposed, *release(work, settlements)])

    def _end(self, workload: Workload, live: Sequence[Deployment], plan: ActionPlan | None) -> LostWorkload:
        label = workload.spec.full_name
        if workload.cluster != self._name:
            return LostWorkload(workload.id, label, LossOutcome.RELEASED, workload.cluster)
        if plan is not None and plan.status in (*UNDECIDED_PLANS, *PLANS_UNDER_WAY):
            self._work.plans.supersede(plan, self._reason)
        if workload.withdrawn:
            if workload.phase is not Phase.REMOVED:
                self._work.workloads.advance(workload, Phase.REMOVED)
            return LostWorkload(workload.id, label, LossOutcome.REMOVED)
        nothing_wanted = workload.phase in (Phase.FAILED, Phase.DENIED) and workload.queued_plan_id is None
        if workload.phase is Phase.COMPLETED or (nothing_wanted and not live):
            return LostWorkload(workload.id, label, LossOutcome.RELEASED)
        reason = self._reason
        if self._fate is Fate.RESCHEDULE:
            try:
                where = self._reschedule(workload, live, plan.proposed_by if plan else "")
                return LostWorkload(workload.id, label, LossOutcome.RESCHEDULED, where)
            except OperationRefused as error:
                reason = f"{reason}, and it cannot be placed elsewhere: {error}"
        # What is queued behind a rollback would be proposed for this cluster again.
        self._work.workloads.replace(replace(workload, phase=Phase.FAILED, reason=reason, queued_plan_id=None))
        return LostWorkload(workload.id, label, LossOutcome.FAILED, reason=reason)

    def _reschedule(self, workload: Workload, live: Sequence[Deployment], proposed_by: str) -> str:
        """The cluster that it is placed on. proposed_by: who proposed its newest plan. Raises OperationRefused."""
        work = self._work
        cluster = planning.place(workload.spec, workload, self._clusters, self._reserved)
        identity = plan_id(workload.id, f"cluster {self._name} lost\n{work.now.isoformat()}")
        if workload.phase in _NOT_AS_SUBMITTED and workload.queued_plan_id is None:
            runs = next((one for one in reversed(live) if one.status in SETTLED_REVISIONS), None)
            if runs is None:
                raise OperationRefused("", "no revision of it was healthy there; submit it again")
            plan = _restoration(workload, runs, cluster, identity)
            moved = replace(workload, cluster=cluster.name, plan_id=identity, phase=Phase.PROPOSED, reason="")
        else:
            prices = Prices.of(work.catalogue.prices_at(cluster.name))
            proposal = planning.propose(
                workload.spec,
                workload,
                cluster,
                prices,
                live=(),
                held={},
                plan_id=identity,
                generation=workload.generation,
            )
            plan, moved = replace(proposal.plan, proposed_by=proposed_by), proposal.workload
        plan = add_plan(work, plan, self._actor, reason=self._reason)
        work.workloads.replace(replace(moved, plan_id=plan.id))
        for counted in (self._reserved, self._planned):
            _add(counted, {(plan.decision.cluster, plan.sku): plan.amounts})
        self._proposed.append(PlanWasProposed(plan))
        return cluster.name


def _state(workload: Workload) -> dict[str, str]:
    return {"phase": workload.phase.value, "cluster": workload.cluster}


def _state_after(workload: Workload, lost: LostWorkload) -> dict[str, str]:
    match lost.outcome:
        case LossOutcome.FAILED:
            return {"phase": Phase.FAILED.value, "cluster": workload.cluster}
        case LossOutcome.RESCHEDULED:
            return {"phase": Phase.PROPOSED.value, "cluster": lost.cluster}
        case LossOutcome.REMOVED:
            return {"phase": Phase.REMOVED.value, "cluster": workload.cluster}
    return _state(workload)


def _add(counted: Planned, more: Planned) -> None:
    for key, amounts in more.items():
        counted[key] = counted.get(key, NOTHING) + amounts


def _restoration(workload: Workload, runs: Deployment, cluster: Cluster, identity: uuid.UUID) -> ActionPlan:
    """The plan that brings a revision's manifest to another cluster."""
    replicas = runs.amounts.replicas
    return ActionPlan(
        id=identity,
        workload_id=workload.id,
        team=workload.spec.team,
        generation=workload.generation,
        source=PlanSource.USER,
        decision=Decision(verb=Verb.ROLLBACK, cluster=cluster.name, replicas=replicas, revision=runs.revision),
        sku=runs.sku,
        amounts=runs.amounts,
        surge=NOTHING,
        status=PlanStatus.PROPOSED,
        priority=workload.spec.priority,
    )
