"""The table of fates, step by step."""

from typing import Any

import pytest

from knative.local.kubernetes.controllers import fates

Object = dict[str, Any]
NOW = "2030-01-01T00:00:00Z"


def _pod(image: str, owner: str = "ReplicaSet") -> Object:
    return {
        "metadata": {"uid": "u", "ownerReferences": [{"kind": owner}]},
        "spec": {"containers": [{"name": "main", "image": image}], "nodeName": "n"},
        "status": {"phase": "Pending"},
    }


def _life(pod: Object, most: int = 20) -> list[tuple[float, str, bool, int, str]]:
    """(seconds, phase, ready, restarts, reason) of each step."""
    seen = []
    for _ in range(most):
        step = fates.next_step(pod)
        if step is None:
            break
        pod = pod | {"status": step.status(pod, NOW)}
        container = pod["status"]["containerStatuses"][0]
        state = next(iter(container["state"].values()))
        seen.append(
            (
                step.seconds,
                pod["status"]["phase"],
                container["ready"],
                container["restartCount"],
                state.get("reason", ""),
            )
        )
    return seen


@pytest.mark.parametrize(
    ("image", "life"),
    [
        ("nginx:latest", [(0.0, "Running", True, 0, "")]),
        ("fate.test/ready:v2", [(0.0, "Running", True, 0, "")]),
        ("fate.test/unheard-of", [(0.0, "Running", True, 0, "")]),
        ("fate.test/slow", [(5.0, "Running", True, 0, "")]),
        ("fate.test/never-ready", [(0.0, "Running", False, 0, "")]),
        ("fate.test/flap", [(0.0, "Running", True, 0, ""), (4.0, "Running", False, 0, "")]),
        ("fate.test/image-pull", [(0.0, "Pending", False, 0, "ImagePullBackOff")]),
        ("fate.test/fail", [(0.0, "Running", True, 0, ""), (1.0, "Failed", False, 0, "Error")]),
    ],
)
def test_what_becomes_of_a_pod(image: str, life: list[tuple[float, str, bool, int, str]]) -> None:
    assert _life(_pod(image)) == life


@pytest.mark.parametrize(("fate", "reason", "code"), [("crash", "Error", 1), ("oom", "OOMKilled", 137)])
def test_a_crash_loop_backs_off_longer_each_time_up_to_eight_restarts(fate: str, reason: str, code: int) -> None:
    pod = _pod(f"fate.test/{fate}")
    life = _life(pod)
    assert [(seconds, restarts) for seconds, _, _, restarts, _ in life] == [
        (0.0, 1),
        *((float(n), n) for n in range(2, 9)),
    ]
    assert {(phase, ready, why) for _, phase, ready, _, why in life} == {("Running", False, "CrashLoopBackOff")}
    step = fates.next_step(pod)
    assert step is not None
    ended = step.status(pod, NOW)["containerStatuses"][0]["lastState"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == (reason, code)


def test_a_job_s_pod_succeeds_after_a_second() -> None:
    assert _life(_pod("nginx", "Job")) == [(0.0, "Running", True, 0, ""), (1.0, "Succeeded", False, 0, "Completed")]


def test_conditions_keep_their_transition_time_while_they_do_not_change() -> None:
    pod = _pod("fate.test/never-ready")
    step = fates.next_step(pod)
    assert step is not None
    pod["status"] = step.status(pod, "2029-01-01T00:00:00Z")
    conditions = {c["type"]: c["lastTransitionTime"] for c in step.status(pod, NOW)["conditions"]}
    assert set(conditions.values()) == {"2029-01-01T00:00:00Z"}
