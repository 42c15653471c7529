"""Bring what is stored of revisions in line with what was observed of them.

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
| suspected  | changed, or an older revision | proposed again; see shared.operations.restoration                   |
| unhealthy  | available for the bake time   | healthy, or rolled back: it recovered after its deadline            |
|            | completed, or a failed Job    | phase completed, or failed                                          |
|            | missing                       | phase failed, and its reservation released                          |
| any other  | missing                       | proposed again; a Job has failed                                    |

A settled revision is suspected by the sweep of its cluster; see shared.operations.sweep.

A revision is verified whatever its workload's newest plan is. The workload's phase follows only when that plan is the
revision's own. While a newer plan is in progress, a broken or missing revision is left for later: the plan may replace
or remove it. If the plan is denied, the next observation finds the same.

Every workload is locked before anything is decided, and all settlements come last. So pages of a tick and single events
take their locks in one order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.models.lifecycle import ENDED_PLANS, PLANS_IN_PROGRESS, Phase, RevisionStatus
from shared.models.reservation import Reservation
from shared.operations.reservations import release
from shared.operations.restoration import drift_to_restore, may_roll_back, propose_restoration
from shared.operations.results import PlanWasProposed, RevisionIsHealthy, RevisionIsUnhealthy, RevisionWasRolledBack
from shared.operations.rollback import RollBackWorkload
from shared.rollout import occupancy
from shared.rollout.observation import belongs_to
from shared.rollout.verdict import State, verdict
from shared.telemetry.metrics import ROWS_SET_ASIDE

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence
    from datetime import datetime

    from shared.models.actor import Actor
    from shared.models.deployment import Deployment
    from shared.models.stored import Workload
    from shared.operations.observe import Observed
    from shared.operations.results import RolloutResult
    from shared.rollout.observation import Observation
    from shared.rollout.verdict import Verdict
    from shared.store.unit_of_work import UnitOfWork

DOUBT = timedelta(seconds=5)
"""A healthy revision counts as degraded when two observations at least this far apart found replicas missing."""

JOB_FAILED = "JobFailed"
"""The verdict's reason for a Job that is over: unlike other broken revisions it has no pods left."""

_PLAIN_REASONS = ("Progressing", "Baking", "Running", "Restarting")  # nothing hinders the revision
_ACTIONS = {
    RevisionIsHealthy: "deployment.healthy",
    RevisionWasRolledBack: "deployment.rolledback",
    RevisionIsUnhealthy: "deployment.unhealthy",
}


@dataclass(frozen=True)
class Verification:
    """How to verify. cause: names what started it, so that a repetition proposes the same plans. pull_grace: see
    shared.rollout.verdict.
    """

    cause: str
    pull_grace: timedelta


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

        A revision whose status has changed since it was read is left to the next observation. One whose workload
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

    def _drift(self, revision: Deployment, observation: Observation) -> Verdict | None:
        """How a suspect differs from what was applied; None while a newer plan is in progress."""
        differs = drift_to_restore(revision, self._workloads[revision.workload_id], observation, self._work.now)
        return None if differs is None or self._is_overtaken(revision) else differs

    def _restore(self, revision: Deployment, differs: Verdict) -> None:
        """Somebody else changed it, or a late execution did. What should run is proposed again."""
        self._record(revision, revision.ready_since, revision.reason)
        self._follow(revision, Phase.UNHEALTHY, _explain(differs))
        self._report(RevisionIsUnhealthy(revision, differs.reason, differs.message))
        self._propose_restoration(revision, differs.message, because_of=revision)

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
        if may_roll_back(self._work, revision, workload):
            target = self._work.deployments.last_good(workload.id, revision.revision)
        if target is None:
            self._follow(revision, Phase.FAILED, _explain(found))
            if finished:
                self._to_settle[workload.id] = revision.plan_id
            return
        self._propose_restoration(target, _explain(found), because_of=revision)

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
        self._propose_restoration(revision, found.message, because_of=revision, missing=True)

    def _propose_restoration(
        self, target: Deployment, reason: str, *, because_of: Deployment, missing: bool = False
    ) -> None:
        command = RollBackWorkload(self._workloads[target.workload_id], self._verification.cause)
        proposed, workload = propose_restoration(
            self._work, command, target, because_of, reason, self._actor, missing=missing
        )
        self._workloads[workload.id] = workload
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


def _explain(found: Verdict) -> str:
    return f"{found.reason}: {found.message}"
