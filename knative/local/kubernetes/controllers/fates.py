"""The lifecycle of a pod that has a node, which the image of its first container names: `fate.test/<fate>[:<tag>]`.

| fate | what happens |
|---|---|
| ready, and every other image | Running and Ready at once; in a Job's pod: Succeeded after 1 s |
| slow | Ready after 5 s |
| never-ready | Running, never Ready |
| flap | Ready, and not Ready any more after 4 s |
| crash | CrashLoopBackOff, exit 1, restarts count up to 8 |
| oom | the same with OOMKilled, exit 137 |
| image-pull | Pending, ImagePullBackOff: the image is not found |
| fail | Failed, exit 1, after 1 s |

Pure: `next_step` says which step comes next for a pod and after how many seconds. `Step.status` is the status of the
pod after that step.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

_PREFIX = "fate.test/"
_FATES = ("ready", "slow", "never-ready", "flap", "crash", "oom", "image-pull", "fail")
_CRASHES = {"crash": ("Error", 1), "oom": ("OOMKilled", 137)}
_MOST_RESTARTS = 8


@dataclass(frozen=True)
class Step:
    """`state` and `last` are the containers' `state` and `lastState`; times are filled in when the step is taken."""

    name: str
    seconds: float
    phase: str
    ready: bool
    state: str
    reason: str = ""
    exit_code: int = 0
    restarts: int = 0

    def status(self, pod: Object, now: str) -> Object:
        """The whole status of the pod after this step, from its status before."""
        old: Object = pod.get("status", {})
        containers = [self._container(container, now) for container in pod["spec"].get("containers") or ()]
        kept = [c for c in old.get("conditions") or () if c["type"] not in ("Initialized", "Ready", "ContainersReady")]
        before = {c["type"]: c for c in old.get("conditions") or ()}
        fresh = [
            _condition(before.get(type_), type_, holds, self.phase, now)
            for type_, holds in (("Initialized", True), ("Ready", self.ready), ("ContainersReady", self.ready))
        ]
        address = _address(pod["metadata"]["uid"])
        return old | {
            "phase": self.phase,
            "conditions": kept + fresh,
            "containerStatuses": containers,
            "hostIP": "10.0.0.1",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": old.get("startTime", now),
        }

    def _container(self, container: Object, now: str) -> Object:
        status: Object = {
            "name": container["name"],
            "image": container.get("image", ""),
            "imageID": "",
            "ready": self.ready,
            "started": self.state == "running",
            "restartCount": self.restarts,
        }
        ended = {"exitCode": self.exit_code, "startedAt": now, "finishedAt": now}
        if self.state == "running":
            status["state"] = {"running": {"startedAt": now}}
        elif self.state == "terminated":
            status["state"] = {"terminated": ended | {"reason": self.reason}}
        elif self.restarts:
            message = "back-off restarting failed container"
            status["state"] = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
            status["lastState"] = {"terminated": ended | {"reason": self.reason}}
        else:
            status["state"] = {"waiting": {"reason": self.reason, "message": _not_found(status["image"])}}
        return status


def _not_found(image: str) -> str:
    """The kubelet's words when the registry does not have an image."""
    found = f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": {image}: not found'
    return f'Back-off pulling image "{image}": ErrImagePull: rpc error: code = NotFound desc = {found}'


def _condition(old: Object | None, type_: str, holds: bool, phase: str, now: str) -> Object:
    status = "True" if holds else "False"
    condition: Object = {"type": type_, "status": status, "lastTransitionTime": now}
    if not holds:
        condition["reason"] = "PodCompleted" if phase == "Succeeded" else "ContainersNotReady"
    if old is not None and old["status"] == status:
        condition["lastTransitionTime"] = old.get("lastTransitionTime", now)
    return condition


def _address(uid: str) -> str:
    digest = hashlib.blake2b(uid.encode(), digest_size=2).digest()
    return f"10.244.{digest[0]}.{1 + digest[1] % 254}"


def fate_of(pod: Object) -> str:
    containers = pod["spec"].get("containers") or [{}]
    image = containers[0].get("image", "")
    fate = image.removeprefix(_PREFIX).partition(":")[0] if image.startswith(_PREFIX) else "ready"
    return fate if fate in _FATES else "ready"


def next_step(pod: Object) -> Step | None:
    """The next step of a pod that has a node, or None when it stays as it is."""
    fate = fate_of(pod)
    status = pod.get("status", {})
    phase = status.get("phase")
    if phase == "Pending":
        return _first(fate, started="containerStatuses" in status)
    if phase != "Running":
        return None
    if fate in _CRASHES:
        return _crash(fate, status)
    if fate == "fail":
        return Step("fail", 1.0, "Failed", False, "terminated", "Error", 1)
    if fate == "ready" and _is_of_job(pod):
        return Step("complete", 1.0, "Succeeded", False, "terminated", "Completed")
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
    if fate == "flap" and ready:
        return Step("flap-down", 4.0, "Running", False, "running")
    return None


def _first(fate: str, *, started: bool) -> Step | None:
    if fate == "image-pull":
        return None if started else Step("image-pull", 0.0, "Pending", False, "waiting", "ImagePullBackOff")
    if fate in _CRASHES:
        reason, code = _CRASHES[fate]
        return Step("crash-1", 0.0, "Running", False, "waiting", reason, code, 1)
    seconds = 5.0 if fate == "slow" else 0.0
    return Step("start", seconds, "Running", fate != "never-ready", "running")


def _crash(fate: str, status: Object) -> Step | None:
    restarts = max((c.get("restartCount", 0) for c in status.get("containerStatuses") or ()), default=0) + 1
    if restarts > _MOST_RESTARTS:
        return None
    reason, code = _CRASHES[fate]
    return Step(f"crash-{restarts}", float(restarts), "Running", False, "waiting", reason, code, restarts)


def _is_of_job(pod: Object) -> bool:
    return any(owner.get("kind") == "Job" for owner in pod["metadata"].get("ownerReferences") or ())
