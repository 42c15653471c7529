"""Jobs: pods until enough have succeeded, or too many have failed, or the time is up.

What succeeded and failed is counted from the pods that exist; a finished Job's counts stand. After a failure the next
pod waits 10 s, doubled with each failure up to 6 minutes, as in a real cluster.
"""

from dataclasses import dataclass
from typing import Any

from knative.local.kubernetes import clock
from knative.local.kubernetes.controllers import conditions, pods
from knative.local.kubernetes.controllers.actor import Actor, controller_of
from knative.local.kubernetes.controllers.queue import Controller, WorkQueue
from knative.local.kubernetes.controllers.recorder import Recorder
from knative.local.kubernetes.kinds import JOB, POD
from knative.local.kubernetes.objects import Change, Key, Stored

Object = dict[str, Any]

_FIRST_BACKOFF = 10.0
_LONGEST_BACKOFF = 360.0
_BURST = 500  # pods made in one go
_INDEX = "batch.kubernetes.io/job-completion-index"


@dataclass(frozen=True)
class _Count:
    """The pods of a Job. `done` are the indexes that have succeeded, for an Indexed Job."""

    active: list[Stored]
    succeeded: int
    failed: list[Stored]
    done: frozenset[int]
    terminating: int


class Jobs:
    def __init__(self, actor: Actor, queue: WorkQueue, recorder: Recorder) -> None:
        self._actor = actor
        self._queue = queue
        self._recorder = recorder
        self.controller = Controller("job", 5, self._reconcile)

    def observe(self, change: Change) -> None:
        if change.kind is JOB and not change.deleted:
            self._queue.add(self.controller, change.key)
        elif change.kind is POD:
            owner = controller_of(change.new.obj)
            if owner is not None and owner["kind"] == "Job":
                self._queue.add(self.controller, (change.key[0], owner["name"]))

    def _reconcile(self, key: Key) -> None:
        stored = self._actor.objects.get(JOB, key)
        if stored is None or "deletionTimestamp" in stored.obj["metadata"]:
            return
        job = stored.obj
        if _is_finished(job):
            self._expire(key, stored)
            return
        count = _count(job, self._actor.objects.owned(POD, job["metadata"]["uid"]))
        ending = self._ending(key, job, count)
        if ending is None and self._work(key, job, count):
            return  # the pods' changes bring this key back
        if ending is not None:
            for pod in count.active:
                self._actor.delete(POD, pod)
            self._tell(job, ending)
        status = _status(job, count, ending, clock.now())
        self._actor.set_status(JOB, stored, status)

    def _expire(self, key: Key, stored: Stored) -> None:
        """Deletes a finished Job when its time to live is over."""
        seconds, status = stored.obj["spec"].get("ttlSecondsAfterFinished"), stored.obj["status"]
        ended = conditions.find(status, "Complete") or conditions.find(status, "Failed") or {}
        if seconds is None or "lastTransitionTime" not in ended:
            return
        left = seconds - clock.age(ended["lastTransitionTime"])
        if left > 0:
            self._queue.add_after(self.controller, key, left)
        else:
            self._actor.delete(JOB, stored)

    def _ending(self, key: Key, job: Object, count: _Count) -> Object | None:
        """The condition that ends the Job, if it is over."""
        spec, now = job["spec"], clock.now()
        wanted = spec.get("completions")
        reached = count.succeeded >= wanted if wanted is not None else bool(count.succeeded and not count.active)
        if reached:
            message = "Reached expected number of succeeded pods"
            return conditions.condition("Complete", True, "CompletionsReached", message, now)
        if len(count.failed) > spec["backoffLimit"]:
            message = "Job has reached the specified backoff limit"
            return conditions.condition("Failed", True, "BackoffLimitExceeded", message, now)
        deadline, started = spec.get("activeDeadlineSeconds"), job.get("status", {}).get("startTime")
        if deadline is not None and started and not spec.get("suspend"):
            left = deadline - clock.age(started)
            if left <= 0:
                message = "Job was active longer than specified deadline"
                return conditions.condition("Failed", True, "DeadlineExceeded", message, now)
            self._queue.add_after(self.controller, key, left)
        return None

    def _work(self, key: Key, job: Object, count: _Count) -> bool:
        """Makes or removes pods; says whether it did."""
        spec = job["spec"]
        if spec.get("suspend"):
            for pod in count.active:
                self._actor.delete(POD, pod)
            return bool(count.active)
        wanted = spec["parallelism"]
        if spec.get("completions") is not None:
            wanted = min(wanted, spec["completions"] - count.succeeded)
        elif count.succeeded:
            wanted = len(count.active)
        if len(count.active) > wanted:
            for pod in count.active[wanted:]:
                self._actor.delete(POD, pod)
            return True
        missing = min(wanted - len(count.active), _BURST)
        wait = _backoff(count.failed)
        if missing and wait > 0:
            self._queue.add_after(self.controller, key, wait)
            return False
        created = [self._create(job, index) for index in _free_indexes(job, count, missing)]
        return any(created)

    def _create(self, job: Object, index: int | None) -> bool:
        pod = pods.from_template(JOB, job, job["spec"]["template"], infix="" if index is None else f"{index}-")
        if index is not None:
            pod["metadata"].setdefault("annotations", {})[_INDEX] = str(index)
            pod["metadata"].setdefault("labels", {})[_INDEX] = str(index)
            pod["spec"]["hostname"] = f"{job['metadata']['name']}-{index}"
            for container in pod["spec"]["containers"]:
                container.setdefault("env", []).append({"name": "JOB_COMPLETION_INDEX", "value": str(index)})
        return self._actor.create(POD, pod) is not None

    def _tell(self, job: Object, ending: Object) -> None:
        if ending["type"] == "Complete":
            self._recorder.record(JOB, job, "Completed", "Job completed", "job-controller")
        else:
            self._recorder.record(JOB, job, ending["reason"], ending["message"], "job-controller", warning=True)


def _is_finished(job: Object) -> bool:
    status = job.get("status", {})
    return conditions.is_true(status, "Complete") or conditions.is_true(status, "Failed")


def _count(job: Object, owned: list[Stored]) -> _Count:
    succeeded = [pod for pod in owned if pod.obj["status"].get("phase") == "Succeeded"]
    done = frozenset(_index_of(pod.obj) for pod in succeeded if _INDEX in (pod.obj["metadata"].get("labels") or {}))
    indexed = job["spec"].get("completionMode") == "Indexed"
    return _Count(
        sorted((pod for pod in owned if pods.is_active(pod.obj)), key=lambda pod: pod.revision),
        len(done) if indexed else len(succeeded),
        [pod for pod in owned if pod.obj["status"].get("phase") == "Failed"],
        done,
        sum(pods.is_terminating(pod.obj) and not pods.is_finished(pod.obj) for pod in owned),
    )


def _index_of(pod: Object) -> int:
    return int(pod["metadata"]["labels"][_INDEX])


def _free_indexes(job: Object, count: _Count, missing: int) -> list[int | None]:
    if job["spec"].get("completionMode") != "Indexed":
        return [None] * missing
    taken = count.done | {_index_of(pod.obj) for pod in count.active}
    free: list[int | None] = [index for index in range(job["spec"]["completions"]) if index not in taken]
    return free[:missing]


def _backoff(failed: list[Stored]) -> float:
    """Seconds until the next pod may be made."""
    if not failed:
        return 0.0
    ends = [
        ended["finishedAt"]
        for pod in failed
        for container in pod.obj["status"].get("containerStatuses") or ()
        if (ended := (container.get("state") or {}).get("terminated") or {}).get("finishedAt")
    ]
    pause = min(_FIRST_BACKOFF * 2 ** (len(failed) - 1), _LONGEST_BACKOFF)
    return pause - clock.age(max(ends)) if ends else 0.0


def _status(job: Object, count: _Count, ending: Object | None, now: str) -> Object:
    old = job.get("status", {})
    listed = old.get("conditions") or []
    suspended = bool(job["spec"].get("suspend"))
    status: Object = {}
    if not suspended:
        status["startTime"] = old.get("startTime", now)
    if suspended or conditions.find(old, "Suspended") is not None:
        reason, message = ("JobSuspended", "Job suspended") if suspended else ("JobResumed", "Job resumed")
        listed = conditions.put(
            listed, _probed(conditions.condition("Suspended", suspended, reason, message, now), now)
        )
    if ending is not None:
        first = {"Complete": "SuccessCriteriaMet", "Failed": "FailureTarget"}[ending["type"]]
        listed = conditions.put(listed, _probed(ending | {"type": first}, now))
        listed = conditions.put(listed, _probed(ending, now))
        if ending["type"] == "Complete":
            status["completionTime"] = now
    active = 0 if ending is not None else len(count.active)
    ready = 0 if ending is not None else sum(pods.is_ready(pod.obj) for pod in count.active)
    counts = {"active": active, "succeeded": count.succeeded, "failed": len(count.failed)}
    if ending is not None and ending["type"] == "Failed":
        counts["failed"] += len(count.active)
    status |= {name: number for name, number in counts.items() if number}
    if count.done:
        status["completedIndexes"] = _ranges(sorted(count.done))
    status |= {"ready": ready, "terminating": count.terminating, "uncountedTerminatedPods": {}}
    if listed:
        status["conditions"] = listed
    return status


def _probed(condition: Object, now: str) -> Object:
    return condition | {"lastProbeTime": now}


def _ranges(indexes: list[int]) -> str:
    """`0-2,5`: consecutive indexes as ranges."""
    parts: list[tuple[int, int]] = []
    for index in indexes:
        if parts and parts[-1][1] == index - 1:
            parts[-1] = (parts[-1][0], index)
        else:
            parts.append((index, index))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)
