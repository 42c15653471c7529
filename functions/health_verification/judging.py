"""What follows from what was seen of a revision.

    verifying   progressing, ready   remembered                  healthy    phase healthy, or rolled back
                completed            phase completed             unhealthy  a rollback is proposed, or phase failed
                a Job, alone         what the ones before it held is released
    removing    gone                 phase removed, released     there again   removed again
    settled     not ready, twice     degraded                    ready again, for the bake   healthy
    any         missing              proposed again; a Job failed

A revision is judged whoever its workload's newest plan is; the workload's phase follows only when that
plan is the revision's own. While a newer plan is under way, that a revision is broken or missing is left for later:
the plan may replace or remove it, and if it is denied, the next look finds the same. Every workload is locked before
anything is judged, and all settlements come after, so that pages of a tick and single events take their locks in one
order.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from events.deployment import DeploymentHealthy, DeploymentRolledBack, DeploymentUnhealthy, WithReason
from events.plan import PlanProposed
from events.policy import ReservationReleased
from shared.eventing.event import Event, Outgoing
from shared.models.actor import Actor
from shared.models.amounts import Amounts
from shared.models.deployment import Deployment
from shared.models.lifecycle import PLANS_IN_PROGRESS, Phase, PlanStatus, RevisionStatus
from shared.models.plan import ActionPlan, Decision, PlanSource, Verb, plan_id
from shared.models.reservation import Reservation
from shared.models.stored import Workload
from shared.rollout import occupancy
from shared.rollout.manifests import surge_replicas
from shared.rollout.observation import Observation, instance_of
from shared.rollout.verdict import State, Verdict, verdict

if TYPE_CHECKING:
    from shared.store.unit_of_work import UnitOfWork

ACTOR = Actor.function("health-verification")

SECOND_LOOK = timedelta(seconds=5)
"""A settled revision counts as degraded when two looks at least this far apart found it not ready."""

JOB_FAILED = "JobFailed"
"""The verdict's reason for a Job that is over: unlike other broken revisions it has no pods left."""


class Judge:
    """Judges the revisions of one event; `outgoing` is what it has to tell."""

    def __init__(self, event: Event, work: UnitOfWork) -> None:
        self.outgoing: list[Outgoing] = []
        # With our own name: intake makes plans of (source, id) too, and a caller may use an id twice.
        self._cause = f"health-verification\n{event.source}\n{event.id}"
        self._work = work
        self._workloads: dict[uuid.UUID, Workload] = {}
        self._unsettled: dict[uuid.UUID, uuid.UUID] = {}

    def judge_all(self, watched: Sequence[Deployment], seen: Mapping[uuid.UUID, Observation]) -> None:
        """Judges what was seen; a revision that changed since it was looked at is left to the next look."""
        if not watched:
            return
        before = {d.id: d.status for d in watched}
        self._workloads = self._work.workloads.lock_many({d.workload_id for d in watched})
        for deployment in self._work.deployments.get_many(before.keys()):
            if deployment.status is not before[deployment.id]:
                continue
            observation = seen.get(deployment.id)
            if observation is None:
                self._remember(deployment)
            elif deployment.status is RevisionStatus.REMOVING:
                self._removing(deployment, observation)
            else:
                self._judge(deployment, observation)
        self._settle()

    def _judge(self, deployment: Deployment, observation: Observation) -> None:
        bake = self._workloads[deployment.workload_id].spec.bake
        found = verdict(observation, deployment, now=self._work.now, bake=bake)
        if found.state in (State.MISSING, State.UNHEALTHY) and self._is_overtaken(deployment):
            self._remember(deployment)
        elif found.state is State.MISSING:
            self._missing(deployment, found)
        elif deployment.status is RevisionStatus.VERIFYING:
            self._verifying(deployment, found, observation)
        else:
            self._settled(deployment, found)

    def _verifying(self, deployment: Deployment, found: Verdict, observation: Observation) -> None:
        match found.state:
            case State.HEALTHY:
                phase = Phase.HEALTHY if deployment.rollback_of is None else Phase.ROLLED_BACK
                self._set(deployment, RevisionStatus.HEALTHY, found, phase)
                self._unsettled[deployment.workload_id] = deployment.plan_id
                self._tell(deployment, DeploymentHealthy if phase is Phase.HEALTHY else DeploymentRolledBack, found)
            case State.COMPLETED:
                self._set(deployment, RevisionStatus.COMPLETED, found, Phase.COMPLETED)
                self._unsettled[deployment.workload_id] = deployment.plan_id
                self._tell(deployment, DeploymentHealthy, found)
            case State.UNHEALTHY:
                self._unhealthy(deployment, found)
            case _:
                self._record_readiness(deployment, found.ready_since, found.message)
                if deployment.reference.kind == "Job" and not observation.others_occupying:
                    self._release_earlier(deployment)

    def _release_earlier(self, deployment: Deployment) -> None:
        """A Job may run for days; what the ones before it took is not held for so long once their pods are gone."""
        if deployment.revision == 1:
            return
        held = self._work.ledger.reserved(deployment.workload_id, deployment.cluster)
        if held != occupancy.occupied_by(self._work.deployments.live(deployment.workload_id)):
            self._unsettled[deployment.workload_id] = deployment.plan_id

    def _is_overtaken(self, deployment: Deployment) -> bool:
        """Whether a newer plan is under way: it may be what deleted or broke this revision, and may yet be denied."""
        workload = self._workloads[deployment.workload_id]
        if workload.plan_id == deployment.plan_id:
            return False
        newest = self._work.plans.get(workload.plan_id)
        return newest is not None and newest.status in PLANS_IN_PROGRESS

    def _unhealthy(self, deployment: Deployment, found: Verdict) -> None:
        over = found.reason == JOB_FAILED
        self._set(deployment, RevisionStatus.FAILED if over else RevisionStatus.UNHEALTHY, found, Phase.UNHEALTHY)
        self._tell(deployment, DeploymentUnhealthy, found)
        workload = self._workloads[deployment.workload_id]
        target = None
        if deployment.rollback_of is None and deployment.reference.kind != "Job" and not workload.withdrawn:
            target = self._work.deployments.last_good(workload.id, deployment.revision)
        if target is None:
            self._give_up(deployment, found)
            if over:
                self._unsettled[workload.id] = deployment.plan_id
            return
        surge = target.amounts.per_replica().times(surge_replicas(target.reference.kind))
        decision = Decision(
            verb=Verb.ROLLBACK,
            cluster=target.cluster,
            replicas=target.amounts.replicas,
            revision=target.revision,
        )
        self._propose(workload, decision, target.sku, target.amounts, surge, f"{found.reason}: {found.message}")

    def _give_up(self, deployment: Deployment, found: Verdict) -> None:
        workload = self._workloads[deployment.workload_id]
        if workload.plan_id == deployment.plan_id:
            self._advance(workload, Phase.FAILED, f"{found.reason}: {found.message}")

    def _settled(self, deployment: Deployment, found: Verdict) -> None:
        if deployment.status is RevisionStatus.DEGRADED:
            if found.state is State.HEALTHY:
                phase = Phase.HEALTHY if deployment.rollback_of is None else Phase.ROLLED_BACK
                self._set(deployment, RevisionStatus.HEALTHY, found, phase)
                self._tell(deployment, DeploymentHealthy, found)
            else:
                self._record_readiness(deployment, found.ready_since, found.message)
            return
        if found.state in (State.HEALTHY, State.READY):
            self._record_readiness(deployment, deployment.ready_since or self._work.now)
        elif deployment.ready_since is not None:
            self._record_readiness(deployment, None, found.message)
        elif deployment.observed_at is None or self._work.now - deployment.observed_at >= SECOND_LOOK:
            self._set(deployment, RevisionStatus.DEGRADED, found, Phase.DEGRADED)
            self._tell(deployment, DeploymentUnhealthy, found)

    def _removing(self, deployment: Deployment, observation: Observation) -> None:
        workload = self._workloads[deployment.workload_id]
        live = observation.object
        ours = live is not None and instance_of(live) == str(workload.id)
        if ours or observation.occupying:
            self._remember(deployment)
            stays = live is not None and ours and "deletionTimestamp" not in live["metadata"]
            if stays and workload.withdrawn and workload.phase is Phase.REMOVING:
                self._remove_again(deployment, workload)
            return
        self._work.deployments.mark_removed(deployment, self._work.now)
        if workload.phase is Phase.REMOVING and not self._work.deployments.live(workload.id):
            self._advance(workload, Phase.REMOVED, "")
        self._work.audit("deployment.gone", str(workload.id), ACTOR, revision=deployment.revision)
        self._unsettled[workload.id] = deployment.plan_id

    def _remove_again(self, deployment: Deployment, workload: Workload) -> None:
        """It was deleted, and is there again: an execution that was cut off came back, or somebody restored it."""
        decision = Decision(verb=Verb.REMOVE, cluster=deployment.cluster, replicas=0)
        self._propose(workload, decision, "", Amounts(), Amounts(), "the object is there again after its removal")

    def _missing(self, deployment: Deployment, found: Verdict) -> None:
        """Somebody else deleted it. What should run is proposed again.

        A Job is not: it may have done its work. Nor is what was never seen: a superseded plan meant to make it.
        """
        self._set(deployment, RevisionStatus.FAILED, found, Phase.UNHEALTHY, gone=True)
        self._tell(deployment, DeploymentUnhealthy, found)
        workload = self._workloads[deployment.workload_id]
        if deployment.reference.kind == "Job" or deployment.reference.uid is None or workload.withdrawn:
            self._give_up(deployment, found)
            self._unsettled[workload.id] = deployment.plan_id
            return
        decision = Decision(
            verb=Verb.ROLLBACK,
            cluster=deployment.cluster,
            replicas=deployment.amounts.replicas,
            revision=deployment.revision,
        )
        self._propose(workload, decision, deployment.sku, deployment.amounts, Amounts(), found.message)

    def _propose(
        self, workload: Workload, decision: Decision, sku: str, amounts: Amounts, surge: Amounts, reason: str
    ) -> None:
        plan = ActionPlan(
            id=plan_id(workload.id, self._cause),
            workload_id=workload.id,
            generation=workload.generation,
            source=PlanSource.HEALTH,
            decision=decision,
            sku=sku,
            amounts=amounts,
            surge=surge,
            status=PlanStatus.PROPOSED,
        )
        self._work.plans.add(plan)
        self._workloads[workload.id] = self._work.workloads.take_plan(
            workload, plan.id, withdrawn=decision.verb is Verb.REMOVE
        )
        self._work.audit(
            "plan.proposed",
            str(workload.id),
            ACTOR,
            plan=str(plan.id),
            verb=decision.verb,
            revision=decision.revision,
            reason=reason,
        )
        self.outgoing.append(
            Outgoing(PlanProposed.of(plan, source=plan.source, usd_per_hour=amounts.usd_per_hour), str(workload.id))
        )

    def _set(
        self, deployment: Deployment, status: RevisionStatus, found: Verdict, phase: Phase, *, gone: bool = False
    ) -> None:
        rows, now = self._work.deployments, self._work.now
        match status:
            case RevisionStatus.HEALTHY:
                rows.mark_healthy(deployment, now, found.ready_since, found.reason)
            case RevisionStatus.COMPLETED:
                rows.mark_completed(deployment, now, found.reason)
            case RevisionStatus.DEGRADED:
                rows.mark_degraded(deployment, now, found.reason)
            case RevisionStatus.UNHEALTHY:
                rows.mark_unhealthy(deployment, now, found.reason)
            case _:
                rows.mark_failed(deployment, now, found.reason, gone=gone)
        workload = self._workloads[deployment.workload_id]
        if workload.plan_id == deployment.plan_id:
            healthy = phase in (Phase.HEALTHY, Phase.COMPLETED, Phase.ROLLED_BACK)
            self._advance(workload, phase, "" if healthy else f"{found.reason}: {found.message}")

    def _advance(self, workload: Workload, phase: Phase, reason: str) -> None:
        self._work.workloads.advance(workload, phase, reason=reason)
        self._workloads[workload.id] = replace(workload, phase=phase)

    def _remember(self, deployment: Deployment) -> None:
        self._work.deployments.observed(deployment, self._work.now)

    def _record_readiness(self, deployment: Deployment, since: datetime | None, reason: str | None = None) -> None:
        self._work.deployments.record_readiness(deployment, self._work.now, since, reason)

    def _tell(self, deployment: Deployment, kind: type[WithReason], found: Verdict) -> None:
        subject = str(deployment.workload_id)
        action = f"deployment.{kind.__name__.removeprefix('Deployment').lower()}"
        self._work.audit(
            action, subject, ACTOR, revision=deployment.revision, reason=found.reason, message=found.message
        )
        told = kind.of(deployment, reason=found.reason, message=found.message)
        self.outgoing.append(Outgoing(told, subject))

    def _settle(self) -> None:
        """Makes each reservation what runs, once all is judged; not one that a newer plan has been given meanwhile."""
        settlements = []
        for workload_id, plan in sorted(self._unsettled.items()):
            workload = self._workloads[workload_id]
            newest = None if workload.plan_id == plan else self._work.plans.get(workload.plan_id)
            if newest is not None and occupancy.keeps_reservation(newest):
                continue
            standing = occupancy.occupied_by(self._work.deployments.live(workload_id))
            settlements.append((Reservation(workload_id, workload.cluster, workload.spec.team, standing), plan))
        self._work.ledger.settle(settlements)
        if settlements and self._work.plans.anything_queued():
            released = settlements[0][0].workload_id
            self.outgoing.append(Outgoing(ReservationReleased(workload=str(released)), str(released)))
