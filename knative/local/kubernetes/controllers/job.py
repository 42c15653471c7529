"""Jobs with `backoffLimit: 0`: pods until enough have succeeded or one has failed.

What succeeded and failed is counted from the pods that exist. The counts of a finished Job stand.
"""

from dataclasses import dataclass
from typing import Any

from knative.local.kubernetes import clock
from knative.local.kubernetes.controllers import conditions, pods
from knative.local.kubernetes.controllers.owning import OwningController
from knative.local.kubernetes.kinds import JOB, POD
from knative.local.kubernetes.objects import Stored

Object = dict[str, Any]

_BURST = 500  # pods made in one go
_INDEX = "batch.kubernetes.io/job-completion-index"


@dataclass(frozen=True)
class _PodCounts:
    """The pods of a Job. `done` are the indexes that have succeeded, for an Indexed Job."""

    active: list[Stored]
    succeeded: int
    failed: int
    done: frozenset[int]
    terminating: int


class JobController(OwningController):
    kind, dependent, level = JOB, POD, 5

    def _sync(self, stored: Stored, owned: list[Stored]) -> None:
        job = stored.obj
        if "deletionTimestamp" in job["metadata"] or _is_finished(job):
            return
        counts = _count(job, owned)
        ending = _ending(job, counts, clock.now())
        if ending is None and self._adjust_pods(job, counts):
            return  # the pods' changes bring this key back
        if ending is not None:
            for pod in counts.active:
                self._client.delete(POD, pod)
            self._record(job, ending)
        self._client.set_status(JOB, stored, _status(job, counts, ending, clock.now()))

    def _adjust_pods(self, job: Object, counts: _PodCounts) -> bool:
        """Makes or removes pods; says whether it did."""
        spec = job["spec"]
        desired = 0 if spec["suspend"] else spec["parallelism"]
        if spec.get("completions") is not None:
            desired = min(desired, spec["completions"] - counts.succeeded)
        elif counts.succeeded:
            desired = len(counts.active)
        for pod in counts.active[desired:]:
            self._client.delete(POD, pod)
        missing = min(desired - len(counts.active), _BURST)
        created = [self._create(job, index) for index in _free_indexes(job, counts, missing)]
        return any(created) or missing < 0

    def _create(self, job: Object, index: int | None) -> bool:
        pod = pods.from_template(JOB, job, infix="" if index is None else f"{index}-")
        if index is not None:
            pod["metadata"].setdefault("annotations", {})[_INDEX] = str(index)
            pod["metadata"].setdefault("labels", {})[_INDEX] = str(index)
            pod["spec"]["hostname"] = f"{job['metadata']['name']}-{index}"
            for container in pod["spec"]["containers"]:
                container.setdefault("env", []).append({"name": "JOB_COMPLETION_INDEX", "value": str(index)})
        return self._client.create(POD, pod) is not None

    def _record(self, job: Object, ending: Object) -> None:
        reason, message, failed = "Completed", "Job completed", ending["type"] == "Failed"
        if failed:
            reason, message = ending["reason"], ending["message"]
        self._recorder.record(JOB, job, reason, message, "job-controller", warning=failed)


def _is_finished(job: Object) -> bool:
    status = job.get("status", {})
    return conditions.is_true(status, "Complete") or conditions.is_true(status, "Failed")


def _count(job: Object, owned: list[Stored]) -> _PodCounts:
    phases = [pod.obj["status"].get("phase") for pod in owned]
    indexed = job["spec"]["completionMode"] == "Indexed"
    succeeded = [pod.obj for pod in owned if indexed and pod.obj["status"].get("phase") == "Succeeded"]
    done = frozenset(_index_of(pod) for pod in succeeded)
    return _PodCounts(
        sorted((pod for pod in owned if pods.is_active(pod.obj)), key=lambda pod: pod.revision),
        len(done) if indexed else phases.count("Succeeded"),
        phases.count("Failed"),
        done,
        sum(pods.is_terminating(pod.obj) and not pods.is_finished(pod.obj) for pod in owned),
    )


def _ending(job: Object, counts: _PodCounts, now: str) -> Object | None:
    """The condition that ends the Job, if it is over."""
    completions = job["spec"].get("completions")
    if counts.succeeded >= completions if completions is not None else counts.succeeded and not counts.active:
        message = "Reached expected number of succeeded pods"
        return conditions.condition("Complete", True, "CompletionsReached", message, now)
    if counts.failed:
        message = "Job has reached the specified backoff limit"
        return conditions.condition("Failed", True, "BackoffLimitExceeded", message, now)
    return None


def _index_of(pod: Object) -> int:
    return int(pod["metadata"]["labels"][_INDEX])


def _free_indexes(job: Object, counts: _PodCounts, missing: int) -> list[int | None]:
    if job["spec"]["completionMode"] != "Indexed":
        return [None] * missing
    taken = counts.done | {_index_of(pod.obj) for pod in counts.active}
    free: list[int | None] = [index for index in range(job["spec"]["completions"]) if index not in taken]
    return free[: max(missing, 0)]


def _status(job: Object, counts: _PodCounts, ending: Object | None, now: str) -> Object:
    old = job.get("status", {})
    listed = old.get("conditions") or []
    suspended: bool = job["spec"]["suspend"]
    status: Object = {} if suspended else {"startTime": old.get("startTime", now)}
    if suspended or conditions.find(old, "Suspended") is not None:
        word = "suspended" if suspended else "resumed"
        condition = conditions.condition("Suspended", suspended, f"Job{word.title()}", f"Job {word}", now)
        listed = conditions.put(listed, condition | {"lastProbeTime": now})
    active, failed = counts.active, counts.failed
    if ending is not None:
        first = {"Complete": "SuccessCriteriaMet", "Failed": "FailureTarget"}[ending["type"]]
        for type_ in (first, ending["type"]):
            listed = conditions.put(listed, ending | {"type": type_, "lastProbeTime": now})
        if ending["type"] == "Complete":
            status["completionTime"] = now
        else:
            failed += len(active)
        active = []
    numbers = {"active": len(active), "succeeded": counts.succeeded, "failed": failed}
    status |= {name: number for name, number in numbers.items() if number}
    if counts.done:
        status["completedIndexes"] = _ranges(sorted(counts.done))
    ready = sum(pods.is_ready(pod.obj) for pod in active)
    status |= {"ready": ready, "terminating": counts.terminating, "uncountedTerminatedPods": {}}
    return status | ({"conditions": listed} if listed else {})


def _ranges(indexes: list[int]) -> str:
    """`0-2,5`: consecutive indexes as ranges."""
    parts: list[tuple[int, int]] = []
    for index in indexes:
        if parts and parts[-1][1] == index - 1:
            parts[-1] = (parts[-1][0], index)
        else:
            parts.append((index, index))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)
