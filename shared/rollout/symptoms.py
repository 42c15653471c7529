"""What is wrong with pods and their owners, in Kubernetes' own words.

Waiting does not heal a fatal symptom. A hindering one may pass; it becomes the reason when the deadline has passed.
When several pods have symptoms, the first pod by name speaks for all, and the message says how many there are.

A pull that fails is hindering for a grace period, because a registry may be away for a moment; so is a first failure.
It is fatal at once when the runtime's message says that trying again is useless: no such image, no permission.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.rollout.observation import condition, container_statuses, holds, phase

CRASH_RESTARTS = 3
"""Restarts from which CrashLoopBackOff is fatal; fewer may be a dependency that is slow to come up."""
OUT_OF_MEMORY_RESTARTS = 2
"""Restarts from which OOMKilled is fatal; its memory limit will not grow."""

_USELESS_PULLS = ("InvalidImageName", "ErrImageNeverPull")
_REPEATED_PULLS = ("ImagePullBackOff", "RegistryUnavailable", "SignatureValidationFailed")
_FAILED_PULLS = ("ErrImagePull", *_REPEATED_PULLS)
PULL_REASONS = (*_USELESS_PULLS, *_FAILED_PULLS)
"""The reasons of an image that is not there."""
FAILED_STARTS = ("CrashLoopBackOff", "OOMKilled")
"""The reasons of a container that does not stay up."""
UNSCHEDULABLE = "Unschedulable"
"""The reason of a pod that fits no node."""
_STARTING = (None, "ContainerCreating", "PodInitializing")
# The words of containerd, CRI-O and Docker's registries, after names of images are taken out of the message.
_PERMANENT_PULL = re.compile(
    r"""\b( code\ =\ (NotFound|InvalidArgument|Unauthenticated|PermissionDenied)
      | not\ found | manifest\ (for\ )?(is\ )?unknown | (name|repository)\ unknown | repository\ does\ not\ exist
      | unauthorized | authentication\ required | authorization\ failed | no\ basic\ auth\ credentials
      | (access|resource)\ (is\ )?denied | 40[134]\ (Unauthorized|Forbidden|Not\ Found)
      | invalid\ reference\ format | couldn't\ parse\ image )\b""",
    re.VERBOSE | re.IGNORECASE,
)
# A quoted name, or a word with a slash: registries, repositories and URLs. They may contain any of the words above.
_NAMES = re.compile(r'"[^"]*"|\S*/\S*')
_MESSAGE_LIMIT = 500  # characters; a registry or a scheduler can be long-winded, and messages travel in events


@dataclass(frozen=True)
class Symptom:
    """A reason and what there is to say about it."""

    reason: str
    message: str


def fatal(pods: Sequence[Mapping[str, Any]], *, pull_grace_over: bool) -> Symptom | None:
    """What waiting does not heal. pull_grace_over: so is a pull that failed repeatedly."""
    return _first(pods, lambda pod: _fatal_symptoms(pod, pull_grace_over))


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


def refused_pods(events: Sequence[Mapping[str, Any]]) -> Symptom | None:
    """Why pods could not be created, in the words of the newest Event: a quota or an admission webhook refused them."""
    if not events:
        return None
    newest = max(events, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    return Symptom(str(newest.get("reason", "FailedCreate")), _bounded(str(newest.get("message", ""))))


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


def _fatal_symptoms(pod: Mapping[str, Any], pull_grace_over: bool) -> Iterator[Symptom]:
    for container in container_statuses(pod):
        restarts = container.get("restartCount", 0)
        ended = container.get("lastState", {}).get("terminated") or {}
        waiting = _waiting(container)
        reason = waiting.get("reason", "")
        if reason == "CrashLoopBackOff":
            # A container that runs again has left its restarts behind; only one that waits is in trouble now.
            if ended.get("reason") == "OOMKilled" and restarts >= OUT_OF_MEMORY_RESTARTS:
                yield Symptom("OOMKilled", f"{_how_it_ended(ended)}, {restarts} restarts")
            elif restarts >= CRASH_RESTARTS:
                yield Symptom("CrashLoopBackOff", f"{_how_it_ended(ended)}, {restarts} restarts")
        elif (
            reason in _USELESS_PULLS
            or (reason in _REPEATED_PULLS and pull_grace_over)
            or (reason in _FAILED_PULLS and _is_permanent(str(waiting.get("message", ""))))
        ):
            yield _image_symptom(container, waiting)


def _hindering_symptoms(pod: Mapping[str, Any]) -> Iterator[Symptom]:
    scheduled = condition(pod, "PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False":
        yield Symptom(str(scheduled.get("reason", UNSCHEDULABLE)), str(scheduled.get("message", "")))
    for container in container_statuses(pod):
        waiting = _waiting(container)
        if waiting.get("reason") in _FAILED_PULLS:
            yield _image_symptom(container, waiting)
        elif waiting.get("reason") not in _STARTING:
            yield Symptom(str(waiting["reason"]), str(waiting.get("message", "")))


def _waiting(container: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = container.get("state", {}).get("waiting") or {}
    return found


def _image_symptom(container: Mapping[str, Any], waiting: Mapping[str, Any]) -> Symptom:
    return Symptom(str(waiting["reason"]), f"image {container.get('image', '')}: {waiting.get('message', '')}")


def _is_permanent(message: str) -> bool:
    """Whether a runtime's message about a failed pull says that it fails however often it is tried."""
    return _PERMANENT_PULL.search(_NAMES.sub(" ", message)) is not None


def _how_it_ended(terminated: Mapping[str, Any]) -> str:
    if not terminated:
        return "the container keeps stopping"
    return f"{terminated.get('reason', 'Error')}, exit code {terminated.get('exitCode', 'unknown')}"


def _bounded(text: str) -> str:
    return text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 1] + "…"
