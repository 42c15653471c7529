"""What is wrong with pods and their owners, in Kubernetes' own words.

Fatal symptoms are those that waiting does not heal; hindering ones may pass, and become the reason once a deadline
has. When several pods have symptoms, the first pod by name speaks for all, and the message says how many do.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.rollout.observation import condition, container_statuses, holds, phase

CRASH_RESTARTS = 3
"""Restarts from which CrashLoopBackOff is fatal; fewer may be a dependency that is slow to come up."""
OUT_OF_MEMORY_RESTARTS = 2
"""Restarts from which OOMKilled is fatal; its memory limit will not grow."""

_IMAGE_REASONS = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_MESSAGE_LIMIT = 500  # characters; a registry or a scheduler can be long-winded, and messages travel in events


@dataclass(frozen=True)
class Symptom:
    """A reason and what there is to say about it."""

    reason: str
    message: str


def fatal(pods: Sequence[Mapping[str, Any]]) -> Symptom | None:
    """What waiting does not heal."""
    return _first(pods, _fatal_symptoms)


def hindering(pods: Sequence[Mapping[str, Any]]) -> Symptom | None:
    """What keeps pods from becoming ready and may yet pass."""
    return _first(pods, _hindering_symptoms)


def of_object(resource: Mapping[str, Any]) -> Symptom | None:
    """What a Deployment says of itself: pods that it may not create (quota, admission), or no progress."""
    if (failure := holds(resource, "ReplicaFailure")) is not None:
        return Symptom(str(failure.get("reason", "FailedCreate")), _bounded(str(failure.get("message", ""))))
    progressing = condition(resource, "Progressing")
    if progressing is not None and progressing.get("reason") == "ProgressDeadlineExceeded":
        return Symptom("ProgressDeadlineExceeded", _bounded(str(progressing.get("message", ""))))
    return None


def failed_pod(pods: Sequence[Mapping[str, Any]]) -> str | None:
    """How the first failed pod ended, for a Job whose own condition says only that it did."""
    for pod in pods:
        if phase(pod) != "Failed":
            continue
        for container in container_statuses(pod):
            ended = container.get("state", {}).get("terminated")
            if ended and ended.get("exitCode"):
                return f"pod {pod['metadata']['name']}: {_how_it_ended(ended)}"
        status = pod["status"]
        return _bounded(f"pod {pod['metadata']['name']}: {status.get('message') or status.get('reason') or 'Failed'}")
    return None


def _first(pods: Sequence[Mapping[str, Any]], read: Callable[[Mapping[str, Any]], Iterable[Symptom]]) -> Symptom | None:
    found = [(pod, symptom) for pod in pods if (symptom := next(iter(read(pod)), None)) is not None]
    if not found:
        return None
    pod, symptom = found[0]
    others = f" (and {len(found) - 1} more pods)" if len(found) > 1 else ""
    return Symptom(symptom.reason, _bounded(f"pod {pod['metadata']['name']}{others}: {symptom.message}"))


def _fatal_symptoms(pod: Mapping[str, Any]) -> Iterator[Symptom]:
    for container in container_statuses(pod):
        restarts = container.get("restartCount", 0)
        ended = container.get("lastState", {}).get("terminated") or {}
        waiting = container.get("state", {}).get("waiting") or {}
        reason = waiting.get("reason", "")
        if ended.get("reason") == "OOMKilled" and restarts >= OUT_OF_MEMORY_RESTARTS and not container.get("ready"):
            yield Symptom("OOMKilled", f"{_how_it_ended(ended)}, {restarts} restarts")
        elif reason == "CrashLoopBackOff" and restarts >= CRASH_RESTARTS:
            yield Symptom("CrashLoopBackOff", f"{_how_it_ended(ended)}, {restarts} restarts")
        elif reason in _IMAGE_REASONS:
            yield Symptom(reason, f"image {container.get('image', '')}: {waiting.get('message', '')}")


def _hindering_symptoms(pod: Mapping[str, Any]) -> Iterator[Symptom]:
    scheduled = condition(pod, "PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False":
        yield Symptom(str(scheduled.get("reason", "Unschedulable")), str(scheduled.get("message", "")))
    for container in container_statuses(pod):
        waiting = container.get("state", {}).get("waiting") or {}
        # These two only say that a pod is starting.
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            yield Symptom(str(waiting["reason"]), str(waiting.get("message", "")))


def _how_it_ended(terminated: Mapping[str, Any]) -> str:
    if not terminated:
        return "the container keeps stopping"
    return f"{terminated.get('reason', 'Error')}, exit code {terminated.get('exitCode', 'unknown')}"


def _bounded(text: str) -> str:
    return text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 1] + "…"
