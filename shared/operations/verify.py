"""Verify revisions: what to observe, and what follows from what was observed.

| revision   | observed                      | what follows                                                        |
|------------|-------------------------------|---------------------------------------------------------------------|
| verifying  | progressing, ready            | remembered; a Job that runs alone releases what earlier ones held   |
|            | healthy                       | phase healthy, or rolled back                                       |
|            | completed                     | phase completed                                                     |
|            | unhealthy                     | a rollback is proposed, or phase failed                             |
| removing   | gone                          | phase removed, and its reservation released                         |
|            | there                         | its plan is announced again, and deletes it                         |
| healthy    | not available, twice          | degraded                                                            |
| degraded   | available for the bake time   | healthy                                                             |
| suspected  | changed, or an older revision | proposed again; see shared.rollout.drift                            |
| unhealthy  | available for the bake time   | healthy, or rolled back: it recovered after its deadline            |
|            | completed, or a failed Job    | phase completed, or failed                                          |
|            | missing                       | phase failed, and its reservation released                          |
| any other  | missing                       | proposed again; a Job has failed                                    |

A settled revision is suspected by the sweep of its cluster; see shared.operations.sweep.

A revision is verified whatever its workload's newest plan is. The workload's phase follows only when that plan is the
revision's own. While a newer plan is in progress, a broken or missing revision is left for later: the plan may replace
or remove it, and if it is denied, the next observation finds the same.

Every workload is locked before anything is decided, and all settlements come last. So pages of a tick and single events
take their locks in one order.
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.errors import OperationRefused, StoreUnavailable
from shared.models.amounts import Amounts
from shared.models.gpu import normalise_sku
from shared.models.lifecycle import (
    ANNOUNCE_AGAIN,
    ENDED_PLANS,
    OBSERVED_REVISIONS,
    PLANS_IN_PROGRESS,
    SET_ASIDE_PHASES,
    SETTLED_REVISIONS,
    UNDECIDED_PLANS,
    WATCHED_REVISIONS,
    Phase,
    PlanStatus,
    RevisionStatus,
)
from shared.models.plan import ActionPlan, Decision, PlanSource, Verb, plan_id
from shared.models.reservation import Reservation
from shared.operations.clusters import mark_away
from shared.operations.observe import ObservationTask, TickPage
from shared.operations.propose import propose
from shared.operations.reservations import release
from shared.operations.results import (
    PlanIsDue,
    PlanWasProposed,
    RevisionIsHealthy,
    RevisionIsUnhealthy,
    RevisionWasRolledBack,
)
from shared.rollout import occupancy
from shared.rollout.drift import SweepFinding, drift
from shared.rollout.manifests import surge_replicas
from shared.rollout.observation import belongs_to
from shared.rollout.verdict import State, Verdict, verdict
from shared.telemetry.metrics import ROWS_SET_ASIDE

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from shared.models.actor import Actor
    from shared.models.deployment import Deployment
    from shared.models.stored import Workload
    from shared.operations.observe import Observed
    from shared.operations.results import RolloutResult
    from shared.rollout.observation import Observation
    from shared.store.unit_of_work import UnitOfWork

logger = logging.getLogger("sentinel.verify")

PAGE = 50
MAX_PAGES = 20
RECENT = timedelta(seconds=2)
"""A revision that was observed this recently is left to the next tick."""

NOTICES_AT_ONCE = 10
NOTICE_INTERVAL = timedelta(seconds=5)
"""A revision is observed because of notices ten times in a row, and then as often as the tick comes."""

NODES_INTERVAL = timedelta(minutes=10)
"""How often the nodes of a cluster are read: their GPU products change when somebody adds nodes, or a driver."""

CLUSTERS_PAGE = 5
STALE = timedelta(minutes=1)
"""A page of a tick that comes this late is dropped: the ticks since have observed the oldest first."""

DOUBT = timedelta(seconds=5)
"""A healthy revision counts as degraded when two observations at least this far apart found replicas missing."""

RESTORE_INTERVAL = timedelta(minutes=10)
"""How often a changed revision is restored at most, when somebody changes it again and again."""

JOB_FAILED = "JobFailed"
"""The verdict's reason for a Job that is over: unlike other broken revisions it has no pods left."""

_PLAIN_REASONS = ("Progressing", "Baking", "Running", "Restarting")  # nothing hinders the revision


@dataclass(frozen=True)
class Verification:
    """How to verify. cause: names what started it, so that a repetition proposes the same plans. pull_grace: see
    shared.rollout.verdict.
    """

    cause: str
    pull_grace: timedelta


@dataclass(frozen=True)
class Verified:
    """What became of the observed revisions. next_page: of the tick, None when it ends."""

    results: Sequence[RolloutResult]
    next_page: TickPage | None = None


def task_for_revision(work: UnitOfWork, deployment_id: uuid.UUID) -> ObservationTask | None:
    """One revision, or None when it has ended, is healthy already or its cluster is away.

    Notices of the API server often find a revision healthy before the event that says that it was applied is here.
    Raises OperationRefused for one that does not exist.
    """
    found = work.deployments.reachable([deployment_id])
    if not found and work.deployments.get(deployment_id) is None:
        raise OperationRefused("deployment", f"there is no deployment {deployment_id}")
    return _task([one for one in _open(found) if one.status is not RevisionStatus.HEALTHY])


def task_for_object(
    work: UnitOfWork, kind: str, namespace: str, name: str, changed_at: datetime | None
) -> ObservationTask | None:
    """The revisions that an object may stand for; None when there are none, or when none needs another observation.

    changed_at: when the change was noticed, None where that is not known. An observation since then, made just now,
    has seen the change; the tick makes up for a clock that is behind. A rollout of 1,000 pods makes thousands of
    changes: after the first few, the tick sees what comes of them.
    """
    found = work.deployments.live_object(kind, namespace, name)
    unseen = [one for one in found if not _was_seen(one, changed_at, work.now)]
    if not unseen:
        return None
    granted = work.deployments.spend_notices([one.id for one in unseen], work.now, NOTICE_INTERVAL, NOTICES_AT_ONCE)
    if late := [one.id for one in unseen if one.id not in granted]:
        work.deployments.suspect(late, work.now)
    return _task([one for one in unseen if one.id in granted])


def task_for_deletion(work: UnitOfWork, kind: str, namespace: str, name: str) -> ObservationTask | None:
    """The revisions that an object stood for; None when there are none."""
    return _task(work.deployments.live_object(kind, namespace, name))


def task_for_workloads(work: UnitOfWork, ids: Collection[str]) -> ObservationTask | None:
    """The revisions of up to a page of workloads. Raises OperationRefused for what is not a workload's id."""
    found: list[Deployment] = []
    for text in sorted(set(ids))[:PAGE]:
        found += _open(work.deployments.live(workload_of(text)))
    return _task(work.deployments.reachable([one.id for one in found]))


def workload_of(text: str) -> uuid.UUID:
    """Raises OperationRefused for what is not a workload's id."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise OperationRefused("workloads", f"{text[:60]!r} is not a workload's id") from None


def task_for_tick(work: UnitOfWork) -> ObservationTask:
    """The first page of a tick: watched revisions, and those that need a closer look."""
    return _page(work, work.now, 1)


def task_for_page(work: UnitOfWork, started_at: datetime, page: int) -> ObservationTask | None:
    """A further page, or None when newer ticks have long taken over. Raises OperationRefused for what no tick says."""
    if page < 1 or started_at.tzinfo is None or started_at > work.now:
        raise OperationRefused(
            "", "no tick continues like this: page must be 1 or more, startedAt a moment in the past"
        )
    if work.now - started_at > STALE:
        return None
    return _page(work, started_at, page)


def conclude(
    work: UnitOfWork, task: ObservationTask, observed: Observed, verification: Verification, actor: Actor
) -> Verified:
    """Decides on each observed revision, and announces plans that are due when a tick asks for it."""
    verified = _verify(work, task, observed, verification, actor)
    for cluster, shown in observed.nodes.items():
        work.catalogue.add_products(cluster, sorted({node.product for node in shown or ()}))
        if shown is not None:
            work.nodes.keep(cluster, {node.name: {normalise_sku(node.product): node.gpus} for node in shown})
    for cluster, reason in observed.away.items():
        mark_away(work, cluster, reason, probed=cluster in task.probes)
    for cluster in task.probes & observed.nodes.keys():
        work.catalogue.mark_available(cluster)
    if task.tick is None:
        return Verified(verified)
    due = work.plans.take_due(work.now, work.now + ANNOUNCE_AGAIN, PAGE)
    results = [*verified, *map(_announcement, due)]
    page = task.tick
    more = (page.full or len(due) == PAGE) and page.page < MAX_PAGES
    return Verified(results, replace(page, page=page.page + 1) if more else None)


def _verify(
    work: UnitOfWork, task: ObservationTask, observed: Observed, verification: Verification, actor: Actor
) -> list[RolloutResult]:
    """Decides on all revisions at once. If that fails, on each by itself: one that fails is set aside.

    A revision that an event is about fails with its event, which the broker delivers again.
    """
    revisions = task.revisions
    if not revisions or (len(revisions) == 1 and task.tick is None):
        return RevisionReconciler(work, verification, actor).reconcile(revisions, observed)
    try:
        with work.savepoint():
            return RevisionReconciler(work, verification, actor).reconcile(revisions, observed)
    except StoreUnavailable:
        raise
    except Exception:  # whatever it is, it is about one revision of many
        logger.exception("a page of %d revisions cannot be verified; each is verified by itself", len(revisions))
    results: list[RolloutResult] = []
    work.workloads.lock_many({revision.workload_id for revision in revisions})  # still in the order of their ids
    for revision in revisions:
        try:
            with work.savepoint():
                results += RevisionReconciler(work, verification, actor).reconcile([revision], observed)
        except StoreUnavailable:
            raise
        except Exception as error:
            logger.exception("revision %s of workload %s is set aside", revision.revision, revision.workload_id)
            work.measurements.count(ROWS_SET_ASIDE, "deployments")
            work.deployments.set_aside(revision, work.now, f"cannot be verified: {type(error).__name__}")
    return results


def _announcement(plan: ActionPlan) -> PlanWasProposed | PlanIsDue:
    return PlanWasProposed(plan) if plan.status in UNDECIDED_PLANS else PlanIsDue(plan)


def _task(revisions: Sequence[Deployment]) -> ObservationTask | None:
    return ObservationTask(tuple(revisions)) if revisions else None


def _open(revisions: Sequence[Deployment]) -> list[Deployment]:
    return [one for one in revisions if one.status in OBSERVED_REVISIONS]


def _was_seen(revision: Deployment, changed_at: datetime | None, now: datetime) -> bool:
    observed_at = revision.observed_at
    if changed_at is None or observed_at is None or revision.applied_at is None:
        return False
    # A revision is given to verification with an `observed_at` before anybody has observed it.
    return observed_at > revision.applied_at and changed_at <= observed_at and now - observed_at < RECENT


def _page(work: UnitOfWork, started_at: datetime, page: int) -> ObservationTask:
    watched = work.deployments.oldest_observed(WATCHED_REVISIONS, started_at - RECENT, PAGE)
    doubtful = work.deployments.doubtful(started_at - RECENT, PAGE)
    tick = TickPage(started_at, page, full=PAGE in (len(watched), len(doubtful)))
    clusters: dict[str, bool] = {}
    if page == 1:
        clusters = work.catalogue.take_unread(work.now, work.now - NODES_INTERVAL, CLUSTERS_PAGE)
    probes = frozenset(name for name in clusters if clusters[name])
    return ObservationTask((*watched, *doubtful), tick, tuple(clusters), probes)


class RevisionReconciler:
    """Brings what is stored of revisions in line with what was observed. `results` says what changed."""

    def __init__(self, work: UnitOfWork, verification: Verification, actor: Actor) -> None:
        self.results: list[RolloutResult] = []
        self._work = work
        self._verification = verification
        self._actor = actor
        self._workloads: dict[uuid.UUID, Workload] = {}
        self._to_settle: dict[uuid.UUID, uuid.UUID] = {}
        self._unchanged: list[uuid.UUID] = []

    def reconcile(self, revisions: Sequence[Deployment], observed: Observed) -> list[RolloutResult]:
        """Decides on each, and returns what follows.

        A revision whose status has changed since it was read is left to the next observation, and one whose workload
        cannot be read is set aside.
        """
        if not revisions:
            return []
        before = {revision.id: revision.status for revision in revisions}
        self._workloads = self._work.workloads.lock_many({revision.workload_id for revision in revisions})
        for revision in self._work.deployments.get_many(before.keys()):
            if revision.status is not before[revision.id]:
                continue
            if revision.workload_id not in self._workloads:
                self._work.measurements.count(ROWS_SET_ASIDE, "workloads")
                self._work.deployments.set_aside(revision, self._work.now, "the row of its workload cannot be read")
                continue
            if revision.id in observed.restored:
                subject = str(revision.workload_id)
                self._work.audit("deployment.labels_restored", subject, self._actor, revision=revision.revision)
            observation = observed.revisions.get(revision.id)
            if observation is None:
                self._unchanged.append(revision.id)
            elif revision.status is RevisionStatus.REMOVING:
                self._removing(revision, observation)
            else:
                self._decide(revision, observation)
        self._work.deployments.observed(self._unchanged, self._work.now)
        self._settle()
        return self.results

    def _decide(self, revision: Deployment, observation: Observation) -> None:
        submitted = self._workloads[revision.workload_id].spec
        bake = submitted.bake if revision.bake is None else revision.bake
        found = verdict(observation, revision, now=self._work.now, bake=bake, pull_grace=self._verification.pull_grace)
        unhealthy = revision.status is RevisionStatus.UNHEALTHY
        if (unhealthy or found.state in (State.MISSING, State.UNHEALTHY)) and self._is_overtaken(revision):
            self._unchanged.append(revision.id)
        elif found.state is State.MISSING:
            self._missing(revision, found)
        elif unhealthy:
            self._failed(revision, found)
        elif (differs := self._drift(revision, observation)) is not None:
            self._restore(revision, differs)
        elif revision.status is RevisionStatus.VERIFYING:
            self._verifying(revision, found, observation)
        elif revision.status is RevisionStatus.DEGRADED:
            self._degraded(revision, found)
        else:
            self._healthy(revision, found)

    def _verifying(self, revision: Deployment, found: Verdict, observation: Observation) -> None:
        match found.state:
            case State.HEALTHY:
                self._become_healthy(revision, found)
                self._to_settle[revision.workload_id] = revision.plan_id
            case State.COMPLETED:
                self._complete(revision, found)
            case State.UNHEALTHY:
                self._unhealthy(revision, found)
            case _:
                self._record(revision, found.ready_since, found.message)
                self._say_what_hinders(revision, found)
                if revision.reference.kind == "Job" and not observation.others_occupying:
                    self._release_earlier(revision)

    def _healthy(self, revision: Deployment, found: Verdict) -> None:
        if found.state in (State.HEALTHY, State.READY):
            self._record(revision, revision.ready_since or self._work.now, revision.reason)
        elif revision.ready_since is not None:  # in doubt from now on
            self._record(revision, None, found.message)
        elif revision.observed_at is None or self._work.now - revision.observed_at >= DOUBT:
            self._work.deployments.mark_degraded(revision, self._work.now, found.reason)
            self._follow(revision, Phase.DEGRADED, _explain(found))
            self._report(RevisionIsUnhealthy(revision, found.reason, found.message))

    def _failed(self, revision: Deployment, found: Verdict) -> None:
        """It failed, and may have recovered since, or ended: a Secret came, say, or a node."""
        match found.state:
            case State.HEALTHY:
                self._become_healthy(revision, found)
                self._to_settle[revision.workload_id] = revision.plan_id
            case State.COMPLETED:
                self._complete(revision, found)
            case State.UNHEALTHY if found.reason == JOB_FAILED:
                self._work.deployments.mark_failed(revision, self._work.now, found.reason)
                self._to_settle[revision.workload_id] = revision.plan_id
            case _:
                self._record(revision, found.ready_since, revision.reason)

    def _complete(self, revision: Deployment, found: Verdict) -> None:
        self._work.deployments.mark_completed(revision, self._work.now, found.reason)
        self._follow(revision, Phase.COMPLETED, "")
        self._report(RevisionIsHealthy(revision, found.reason, found.message))
        self._to_settle[revision.workload_id] = revision.plan_id

    def _drift(self, revision: Deployment, observation: Observation) -> SweepFinding | None:
        """How a suspect differs from what was applied; None for others, and while a newer plan is in progress."""
        live = observation.object
        if revision.suspected_at is None or revision.status not in SETTLED_REVISIONS or live is None:
            return None
        restored_at = None if revision.rollback_of is None else revision.applied_at
        restored_lately = restored_at is not None and self._work.now - restored_at < RESTORE_INTERVAL
        if restored_lately or self._workloads[revision.workload_id].withdrawn:
            return None
        differs = drift(revision, live)
        return None if differs is None or self._is_overtaken(revision) else differs

    def _restore(self, revision: Deployment, differs: SweepFinding) -> None:
        """Somebody else changed it, or a late execution did. What should run is proposed again."""
        found = _DIFFERENCES[differs]
        self._record(revision, revision.ready_since, revision.reason)
        self._follow(revision, Phase.UNHEALTHY, _explain(found))
        self._report(RevisionIsUnhealthy(revision, found.reason, found.message))
        surge = revision.amounts.per_replica().times(surge_replicas(revision.reference.kind))
        workload = self._workloads[revision.workload_id]
        self._propose(workload, _restoring(revision), revision.sku, revision.amounts, surge, found.message, revision)

    def _degraded(self, revision: Deployment, found: Verdict) -> None:
        if found.state is State.HEALTHY:
            self._become_healthy(revision, found, was_degraded=True)
        else:
            self._record(revision, found.ready_since, found.message)

    def _become_healthy(self, revision: Deployment, found: Verdict, *, was_degraded: bool = False) -> None:
        """A rollback stays one when it was degraded and recovers: its workload asks for something else."""
        restores = revision.rollback_of is not None
        self._work.deployments.mark_healthy(revision, self._work.now, found.ready_since, found.reason)
        self._follow(revision, Phase.ROLLED_BACK if restores else Phase.HEALTHY, "")
        if restores and not was_degraded:
            self._report(RevisionWasRolledBack(revision, found.reason, found.message))
        else:
            self._report(RevisionIsHealthy(revision, found.reason, found.message))

    def _say_what_hinders(self, revision: Deployment, found: Verdict) -> None:
        """The workload says before its deadline what its newest revision waits for."""
        workload = self._workloads[revision.workload_id]
        if workload.plan_id != revision.plan_id or workload.phase is not Phase.VERIFYING:
            return
        reason = "" if found.reason in _PLAIN_REASONS else _explain(found)
        if reason != workload.reason:
            self._advance(workload, Phase.VERIFYING, reason)

    def _release_earlier(self, revision: Deployment) -> None:
        """A Job may run for days; what the ones before it took is not held for so long once their pods are gone."""
        if revision.revision == 1:
            return
        held = self._work.ledger.reserved(revision.workload_id, revision.cluster)
        if held != occupancy.occupied_by(self._work.deployments.live(revision.workload_id)):
            self._to_settle[revision.workload_id] = revision.plan_id

    def _is_overtaken(self, revision: Deployment) -> bool:
        """Whether a newer plan is in progress: it may be what deleted or broke this revision, and may yet be denied."""
        workload = self._workloads[revision.workload_id]
        if workload.plan_id == revision.plan_id:
            return False
        newest = self._work.plans.get(workload.plan_id)
        return newest is not None and newest.status in PLANS_IN_PROGRESS

    def _unhealthy(self, revision: Deployment, found: Verdict) -> None:
        finished = found.reason == JOB_FAILED
        if finished:
            self._work.deployments.mark_failed(revision, self._work.now, found.reason)
        else:
            self._work.deployments.mark_unhealthy(revision, self._work.now, found.reason)
        self._follow(revision, Phase.UNHEALTHY, _explain(found))
        self._report(RevisionIsUnhealthy(revision, found.reason, found.message))
        workload = self._workloads[revision.workload_id]
        target = None
        if self._may_roll_back(revision, workload):
            target = self._work.deployments.last_good(workload.id, revision.revision)
        if target is None:
            self._follow(revision, Phase.FAILED, _explain(found))
            if finished:
                self._to_settle[workload.id] = revision.plan_id
            return
        surge = target.amounts.per_replica().times(surge_replicas(target.reference.kind))
        self._propose(workload, _restoring(target), target.sku, target.amounts, surge, _explain(found), revision)

    def _may_roll_back(self, revision: Deployment, workload: Workload) -> bool:
        """Not what restores an earlier revision itself; nor one that was rescheduled: the earlier one is the same."""
        if revision.rollback_of is not None or revision.reference.kind == "Job" or workload.withdrawn:
            return False
        plan = self._work.plans.get(revision.plan_id)
        return plan is None or plan.decision.verb is not Verb.RESCHEDULE

    def _removing(self, revision: Deployment, observation: Observation) -> None:
        workload = self._workloads[revision.workload_id]
        live = observation.object
        ours = live is not None and belongs_to(live, str(workload.id), revision.reference.uid)
        reference = revision.reference
        if ours or observation.occupying_of(reference.kind, reference.uid):
            self._unchanged.append(revision.id)
            if live is not None and ours and "deletionTimestamp" not in live["metadata"]:
                self._delete_again(revision, workload)
            return
        self._work.deployments.mark_removed(revision, self._work.now)
        if workload.phase is Phase.REMOVING and not self._work.deployments.live(workload.id):
            self._advance(workload, Phase.REMOVED, "")
        self._work.audit("deployment.gone", str(workload.id), self._actor, revision=revision.revision)
        self._to_settle[workload.id] = revision.plan_id

    def _delete_again(self, revision: Deployment, workload: Workload) -> None:
        """Its cluster did not delete it, or it came back: by an execution that was cut off, or somebody restored it.

        The plan that applied it, which has ended, is announced again and takes it away.
        """
        plan = self._work.plans.get(revision.plan_id)
        if plan is not None and plan.id != workload.plan_id and plan.status in ENDED_PLANS:
            self._work.plans.postpone(plan, self._work.now, "its object is to be deleted, and is there")

    def _missing(self, revision: Deployment, found: Verdict) -> None:
        """Somebody else deleted it. What should run is proposed again.

        A Job is not: it may have done its work. Nor is what was never observed: a superseded plan meant to apply it.
        Nor is what had failed.
        """
        failed = revision.status is RevisionStatus.UNHEALTHY
        self._work.deployments.mark_failed(revision, self._work.now, found.reason, gone=True)
        self._follow(revision, Phase.UNHEALTHY, _explain(found))
        self._report(RevisionIsUnhealthy(revision, found.reason, found.message))
        workload = self._workloads[revision.workload_id]
        if revision.reference.kind == "Job" or revision.reference.uid is None or workload.withdrawn or failed:
            self._follow(revision, Phase.FAILED, _explain(found))
            self._to_settle[workload.id] = revision.plan_id
            return
        self._propose(
            workload, _restoring(revision), revision.sku, revision.amounts, Amounts(), found.message, revision
        )

    def _propose(
        self,
        workload: Workload,
        decision: Decision,
        sku: str,
        amounts: Amounts,
        surge: Amounts,
        reason: str,
        because_of: Deployment,
    ) -> None:
        """because_of: what has become of this revision; its trace goes on."""
        plan = ActionPlan(
            id=plan_id(workload.id, self._verification.cause),
            workload_id=workload.id,
            generation=workload.generation,
            source=PlanSource.HEALTH,
            decision=decision,
            sku=sku,
            amounts=amounts,
            surge=surge,
            status=PlanStatus.PROPOSED,
            traceparent=because_of.traceparent,
        )
        proposed, self._workloads[workload.id] = propose(
            self._work,
            plan,
            workload,
            self._actor,
            withdrawn=False,
            queued_plan_id=workload.plan_id if workload.phase in SET_ASIDE_PHASES else workload.queued_plan_id,
            revision=decision.revision,
            reason=reason,
        )
        self.results.append(PlanWasProposed(proposed))

    def _record(self, revision: Deployment, ready_since: datetime | None, reason: str) -> None:
        """Remembers readiness and reason; one statement for all revisions whose are as before."""
        if (ready_since, reason) == (revision.ready_since, revision.reason):
            self._unchanged.append(revision.id)
        else:
            self._work.deployments.record_readiness(revision, self._work.now, ready_since, reason)

    def _follow(self, revision: Deployment, phase: Phase, reason: str) -> None:
        """The workload's phase follows where the revision is of its newest plan."""
        workload = self._workloads[revision.workload_id]
        if workload.plan_id == revision.plan_id:
            self._advance(workload, phase, reason)

    def _advance(self, workload: Workload, phase: Phase, reason: str) -> None:
        self._work.workloads.advance(workload, phase, reason=reason)
        self._workloads[workload.id] = replace(workload, phase=phase, reason=reason)

    def _report(self, result: RevisionIsHealthy | RevisionWasRolledBack | RevisionIsUnhealthy) -> None:
        self._work.audit(
            _ACTIONS[type(result)],
            str(result.deployment.workload_id),
            self._actor,
            revision=result.deployment.revision,
            reason=result.reason,
            message=result.message,
        )
        self.results.append(result)

    def _settle(self) -> None:
        """Makes each reservation what runs, once all is decided; not one that a newer plan has been given meanwhile."""
        settlements = []
        for workload_id, plan in sorted(self._to_settle.items()):
            workload = self._workloads[workload_id]
            newest = None if workload.plan_id == plan else self._work.plans.get(workload.plan_id)
            if newest is not None and occupancy.keeps_reservation(newest):
                continue
            lines = occupancy.occupied_by(self._work.deployments.live(workload_id))
            settlements.append((Reservation(workload_id, workload.cluster, workload.spec.team, lines), plan))
        if settlements:
            self.results += release(self._work, settlements)


_DIFFERENCES = {
    SweepFinding.CHANGED: Verdict(State.UNHEALTHY, "Changed", "somebody changed a field that Sentinel had applied"),
    SweepFinding.OLDER_REVISION: Verdict(State.UNHEALTHY, "OlderRevision", "the cluster has an older revision"),
}
"""What is said of a settled revision that is restored."""

_ACTIONS = {
    RevisionIsHealthy: "deployment.healthy",
    RevisionWasRolledBack: "deployment.rolledback",
    RevisionIsUnhealthy: "deployment.unhealthy",
}


def _restoring(target: Deployment) -> Decision:
    """The decision to apply a revision's manifest again."""
    return Decision(
        verb=Verb.ROLLBACK, cluster=target.cluster, replicas=target.amounts.replicas, revision=target.revision
    )


def _explain(found: Verdict) -> str:
    return f"{found.reason}: {found.message}"
