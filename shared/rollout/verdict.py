"""How a revision is doing on its cluster: one observation, one verdict.

Rules, in order; the first that applies decides.

   1. missing      the object is not there, or belongs to another workload       -> MISSING
   2. completed    a Job has its condition Complete                              -> COMPLETED
   3. job failed   a Job has its condition Failed                                -> UNHEALTHY JobFailed
   4. broken       a pod of the newest revision cannot be saved by waiting:
                   crash loop, out of memory again and again, unpullable image   -> UNHEALTHY, the pod's reason
   5. settled      every replica is of this revision, ready and available        -> READY; after the bake HEALTHY
   6. running      all pods of a Job have started                                -> PROGRESSING Running
   7. deadline     the deadline has passed                                       -> UNHEALTHY, the best known reason
   8. otherwise                                                                  -> PROGRESSING

Rules 2 to 6 take effect only on a status that speaks of the object as it is (observedGeneration), and of the
revision that is watched: an older one's success or failure says nothing. Broken pods need not wait for the deadline;
whatever may yet resolve itself does: a full cluster, a Secret that is still to come, a first failed pull.
`ProgressDeadlineExceeded` is among the latter, because a Deployment keeps that condition from an earlier failure
while it takes up an old ReplicaSet again, and would condemn the very rollback. Only the times that Sentinel itself
recorded are compared: a cluster's clock may be off. The deadline of a Job is for its start; it may then run as
long as it likes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from shared.models.deployment import Deployment
from shared.rollout import symptoms
from shared.rollout.observation import (
    Observation,
    holds,
    instance_of,
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

    `ready_since` is set for READY and HEALTHY: what to remember until the next verdict. For every other state it is
    None, and forgetting the old one restarts the bake.
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

    @property
    def is_job(self) -> bool:
        return bool(self.resource["kind"] == "Job")

    @property
    def speaks_of_revision(self) -> bool:
        """Whether the status is about the spec as it is, and the spec is that of the watched revision."""
        return not is_stale(self.resource) and revision_of(self.resource) == self.watched.revision


def verdict(observation: Observation, watched: Deployment, *, now: datetime, bake: timedelta) -> Verdict:
    """The verdict on a watched revision at `now`, which is UTC as the store tells it. Pure."""
    resource = observation.object
    if resource is None or instance_of(resource) != str(watched.workload_id):
        return Verdict(State.MISSING, "Missing", _missing(watched, resource is not None))
    case = _Case(resource, observation, watched, now, bake)
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


def _broken(case: _Case) -> Verdict | None:
    symptom = symptoms.fatal(newest_pods(case.observation))
    return None if symptom is None else Verdict(State.UNHEALTHY, symptom.reason, symptom.message)


def _settled(case: _Case) -> Verdict | None:
    if case.is_job or not (rollout := rollout_of(case.resource)).complete:
        return None
    since = case.watched.ready_since or case.now
    if rollout.desired == 0:
        return Verdict(State.HEALTHY, "ScaledToZero", "no replicas are wanted, and there are none", since)
    message = f"{rollout.ready} of {rollout.desired} replicas are ready"
    if case.now - since >= case.bake:
        return Verdict(State.HEALTHY, "Available", message, since)
    return Verdict(State.READY, "Baking", f"{message}; healthy at {(since + case.bake).isoformat()}", since)


def _running(case: _Case) -> Verdict | None:
    if not case.is_job:
        return None
    wanted = case.resource["spec"].get("completions", 1)
    succeeded = case.resource.get("status", {}).get("succeeded", 0)
    phases = [phase(pod) for pod in newest_pods(case.observation)]
    # Either count may lag: the status behind pods that have just finished, the pods behind those collected since.
    started = max(sum(1 for p in phases if p != "Pending"), succeeded + phases.count("Running"))
    if started < wanted:
        return None
    return Verdict(State.PROGRESSING, "Running", f"{succeeded} of {wanted} pods have succeeded, the others run")


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
    return symptoms.hindering(newest_pods(case.observation)) or symptoms.of_object(case.resource)


_RULES: tuple[Callable[[_Case], Verdict | None], ...] = (
    _completed,
    _job_failed,
    _broken,
    _settled,
    _running,
    _deadline,
    _progressing,
)
_RULES_WITHOUT_STATUS: tuple[Callable[[_Case], Verdict | None], ...] = (_deadline, _progressing)


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
