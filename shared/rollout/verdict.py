"""How a revision is doing on its cluster: one observation, one verdict.

The rules, in order; the first that applies decides.

| rule       | applies when                                                | verdict                       |
|------------|-------------------------------------------------------------|-------------------------------|
| missing    | the object is not there, or belongs to another workload     | MISSING                       |
| completed  | a Job has the condition Complete                            | COMPLETED                     |
| job failed | a Job has the condition Failed                              | UNHEALTHY JobFailed           |
| available  | a settled revision has all wanted replicas available        | READY; after the bake HEALTHY |
| broken     | a pod of the newest revision crashes in a loop, runs out of | UNHEALTHY, the pod's reason   |
|            | memory again and again, or cannot pull its image            |                               |
| rolled out | all replicas are of this revision, the wanted are available | READY; after the bake HEALTHY |
| running    | all pods of a Job have started                              | PROGRESSING Running           |
| deadline   | the deadline has passed                                     | UNHEALTHY, best known reason  |
| otherwise  |                                                             | PROGRESSING                   |

The rules from "completed" to "running" need a status of the object as it is (observedGeneration), and of the watched
revision: the success or failure of an older one says nothing. Only "available" does without the first: old and new
pods of a settled revision serve alike while somebody restarts it.

Wanted are as many replicas as Sentinel applied, or fewer when somebody has scaled the object down. An autoscaler that
asks for more does not make a workload unhealthy while its new pods start. Where the replicas are an autoscaler's, its
minimum is wanted, and at least one.

Broken pods do not wait for the deadline. What may pass does: a full cluster, a Secret that is still to come. A failed
pull waits for a grace period that counts from the apply. `ProgressDeadlineExceeded` waits too, because a Deployment
keeps that condition from an earlier failure while it takes up an old ReplicaSet again, and would condemn the rollback.
Only times that Sentinel recorded are compared, because a cluster's clock may be off. The deadline of a Job is for its
start; it may then run as long as it likes, and wait for a node when it replaces a pod that was lost with another.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from shared.models.deployment import Deployment
from shared.models.lifecycle import SETTLED_REVISIONS
from shared.rollout import symptoms
from shared.rollout.manifests import autoscaling_of
from shared.rollout.observation import (
    Observation,
    belongs_to,
    completion_of,
    counted_pods,
    holds,
    is_stale,
    newest_pods,
    phase,
    revision_of,
    rollout_of,
)
from shared.rollout.symptoms import Symptom


class State(StrEnum):
    """What a verdict comes to."""

    MISSING = "missing"
    PROGRESSING = "progressing"
    READY = "ready"
    HEALTHY = "healthy"
    COMPLETED = "completed"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True)
class Verdict:
    """A state, a CamelCase reason as Kubernetes writes them, and a sentence.

    `ready_since` is set for READY and HEALTHY, and for a Job since all its pods have started: what to remember until
    the next verdict. Otherwise it is None, and forgetting the old one restarts the bake.
    """

    state: State
    reason: str
    message: str
    ready_since: datetime | None = None


@dataclass(frozen=True)
class _Case:
    resource: Mapping[str, Any]
    observation: Observation
    watched: Deployment
    now: datetime
    bake: timedelta
    pull_grace: timedelta

    @property
    def is_job(self) -> bool:
        return bool(self.resource["kind"] == "Job")

    @property
    def has_run(self) -> bool:
        """Whether it is a Job all of whose pods have started."""
        return self.is_job and self.watched.ready_since is not None

    @property
    def wanted(self) -> int:
        """How many replicas have to be available."""
        autoscaling = autoscaling_of(self.watched.manifest)
        applied = self.watched.amounts.replicas if autoscaling is None else max(autoscaling.min, 1)
        return min(rollout_of(self.resource).desired, applied)

    @property
    def is_of_revision(self) -> bool:
        """Whether the watched revision was applied last."""
        return revision_of(self.resource) == self.watched.revision

    @property
    def speaks_of_revision(self) -> bool:
        """Whether the status is about the spec as it is, and the spec is that of the watched revision."""
        return self.is_of_revision and not is_stale(self.resource)


def verdict(
    observation: Observation,
    watched: Deployment,
    *,
    now: datetime,
    bake: timedelta,
    pull_grace: timedelta,
) -> Verdict:
    """The verdict on a watched revision at `now`, which is UTC from the store's clock. Pure.

    pull_grace: how long after its apply an image may fail to be pulled.
    """
    resource = observation.object
    if resource is None or not belongs_to(resource, str(watched.workload_id), watched.reference.uid):
        return Verdict(State.MISSING, "Missing", _missing(watched, resource is not None))
    case = _Case(resource, observation, watched, now, bake, pull_grace)
    rules = _RULES if case.speaks_of_revision else _RULES_WITHOUT_STATUS
    return next(found for rule in rules if (found := rule(case)) is not None)


def _completed(case: _Case) -> Verdict | None:
    if not case.is_job or holds(case.resource, "Complete") is None:
        return None
    succeeded = case.resource["status"].get("succeeded", 0)
    return Verdict(State.COMPLETED, "Complete", f"the Job is complete: {succeeded} pods succeeded")


def _job_failed(case: _Case) -> Verdict | None:
    failed = holds(case.resource, "Failed") if case.is_job else None
    if failed is None:
        return None
    why = symptoms.failed_pod(newest_pods(case.observation)) or failed.get("message") or failed.get("reason", "")
    return Verdict(State.UNHEALTHY, "JobFailed", str(why))


def _available(case: _Case) -> Verdict | None:
    """A settled revision serves: it may be restarted, or scaled up, meanwhile."""
    if (
        case.is_job
        or case.watched.status not in SETTLED_REVISIONS
        or revision_of(case.resource) != case.watched.revision
    ):
        return None
    return _ready(case) if rollout_of(case.resource).available >= case.wanted > 0 else None


def _broken(case: _Case) -> Verdict | None:
    applied_at = case.watched.applied_at
    pull_grace_over = applied_at is None or case.now - applied_at >= case.pull_grace
    if case.has_run:  # the image was pulled once, and may be pulled again on another node at any time
        pull_grace_over = False
    symptom = symptoms.fatal(counted_pods(case.observation), pull_grace_over=pull_grace_over)
    return None if symptom is None else Verdict(State.UNHEALTHY, symptom.reason, symptom.message)


def _rolled_out(case: _Case) -> Verdict | None:
    if case.is_job:
        return None
    counts = rollout_of(case.resource)
    return _ready(case) if counts.serves(case.wanted or counts.desired) else None


def _ready(case: _Case) -> Verdict:
    counts = rollout_of(case.resource)
    since = case.watched.ready_since or case.now
    if counts.desired == 0:
        return Verdict(State.HEALTHY, "ScaledToZero", "no replicas are wanted, and there are none", since)
    message = f"{counts.ready} of {counts.desired} replicas are ready"
    if case.now - since >= case.bake:
        return Verdict(State.HEALTHY, "Available", message, since)
    return Verdict(State.READY, "Baking", f"{message}; healthy at {(since + case.bake).isoformat()}", since)


def _running(case: _Case) -> Verdict | None:
    if not case.is_job:
        return None
    wanted = case.resource["spec"].get("completions", 1)
    succeeded = case.resource.get("status", {}).get("succeeded", 0)
    pods = newest_pods(case.observation)
    running = sum(1 for pod in pods if phase(pod) == "Running")
    # Either count may lag: the status behind pods that have just finished, the pods behind those deleted since.
    started = max(len({completion_of(pod) for pod in pods if phase(pod) != "Pending"}), succeeded + running)
    if started < wanted:
        return None
    message = f"{succeeded} of {wanted} pods have succeeded, the others run"
    return Verdict(State.PROGRESSING, "Running", message, case.watched.ready_since or case.now)


def _restarting(case: _Case) -> Verdict | None:
    """A Job that ran once has no deadline: it replaces pods that failed, or were lost with their node."""
    if not case.has_run:
        return None
    symptom = _hindrance(case) or Symptom("Restarting", "pods of the Job are being replaced")
    return Verdict(State.PROGRESSING, symptom.reason, symptom.message, case.watched.ready_since)


def _deadline(case: _Case) -> Verdict | None:
    if case.watched.deadline_at is None or case.now < case.watched.deadline_at:
        return None
    symptom = _hindrance(case) or Symptom("DeadlineExceeded", _progress(case))
    return Verdict(State.UNHEALTHY, symptom.reason, f"not ready at its deadline: {symptom.message}")


def _progressing(case: _Case) -> Verdict:
    symptom = _hindrance(case) or Symptom("Progressing", _progress(case))
    return Verdict(State.PROGRESSING, symptom.reason, symptom.message)


def _hindrance(case: _Case) -> Symptom | None:
    if not case.speaks_of_revision:
        return None
    return (
        symptoms.hindering(counted_pods(case.observation))
        or symptoms.of_object(case.resource)
        or symptoms.refused_pods(case.observation.refusals)
    )


_RULES: tuple[Callable[[_Case], Verdict | None], ...] = (
    _completed,
    _job_failed,
    _available,
    _broken,
    _rolled_out,
    _running,
    _restarting,
    _deadline,
    _progressing,
)
_RULES_WITHOUT_STATUS: tuple[Callable[[_Case], Verdict | None], ...] = (_available, _deadline, _progressing)


def _missing(watched: Deployment, taken: bool) -> str:
    reference = watched.reference
    where = f"{reference.kind} {reference.namespace}/{reference.name}"
    return f"{where} belongs to another workload" if taken else f"{where} is not on cluster {watched.cluster}"


def _progress(case: _Case) -> str:
    live = revision_of(case.resource)
    if live != case.watched.revision:
        return f"the cluster has revision {live or 'unknown'}, not {case.watched.revision}"
    if is_stale(case.resource):
        return "the cluster's controllers have not taken up the change"
    if case.is_job:
        return "not all pods of the Job have started"
    counts = rollout_of(case.resource)
    return (
        f"{counts.updated} of {counts.desired} replicas are updated, {counts.ready} of {counts.total} ready, "
        f"{counts.available} available"
    )
