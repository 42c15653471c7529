"""Verdicts: the table of rules, case by case, and what holds whatever is seen."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.models.lifecycle import RevisionStatus
from shared.models.workload import WorkloadSpec
from shared.rollout.manifests import manifest
from shared.rollout.observation import Observation
from shared.rollout.verdict import State, Verdict, verdict
from tests.support.cluster_documents import (
    BAKE,
    NEW,
    NOW,
    OLD,
    PULL_GRACE,
    UID,
    Document,
    condition,
    counts,
    ended,
    over,
    pod,
    refusal,
    replica_set,
    resource,
    running,
    seen,
    unschedulable,
    waiting,
    watched,
)

SETTLED = counts(2, 2, 2, 2)
EXPIRED = timedelta(seconds=0)
NO_ROOM = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
OOM = ended("OOMKilled", 137)
ERROR = ended("Error", 1)
MID_ROLLOUT = counts(3, 1, 2, 2)  # the old replicas still serve


def judged(observation: Observation, kind: str = "Deployment", **more: Any) -> Verdict:
    return verdict(observation, watched(kind, **more), now=NOW, bake=BAKE, pull_grace=PULL_GRACE)


CASES: list[tuple[str, Observation, timedelta, State, str]] = [
    # An object that is not there, or not ours.
    ("absent", seen(None), EXPIRED, State.MISSING, "Missing"),
    ("of another workload", seen(resource(instance="else", **SETTLED)), EXPIRED, State.MISSING, "Missing"),
    # A status that does not speak of the object as it is.
    (
        "status of an older generation",
        seen(resource(observedGeneration=6, **SETTLED)),
        timedelta(1),
        State.PROGRESSING,
        "Progressing",
    ),
    ("no status yet", seen(resource(observedGeneration=0)), timedelta(1), State.PROGRESSING, "Progressing"),
    (
        "controllers that never act",
        seen(resource(observedGeneration=6, **SETTLED)),
        EXPIRED,
        State.UNHEALTHY,
        "DeadlineExceeded",
    ),
    (
        "an older revision, all ready",
        seen(resource(revision=3, **SETTLED)),
        timedelta(1),
        State.PROGRESSING,
        "Progressing",
    ),
    ("an older revision for good", seen(resource(revision=3, **SETTLED)), EXPIRED, State.UNHEALTHY, "DeadlineExceeded"),
    (
        "no revision to be read",
        seen(resource(revision=None, **SETTLED)),
        timedelta(1),
        State.PROGRESSING,
        "Progressing",
    ),
    # Pods that waiting does not heal.
    (
        "crash loop",
        seen(
            resource(**MID_ROLLOUT), [pod("a", "uid-of-web-new", waiting("CrashLoopBackOff", restarts=3, ended=ERROR))]
        ),
        timedelta(1),
        State.UNHEALTHY,
        "CrashLoopBackOff",
    ),
    (
        "crash loop that has only begun",
        seen(
            resource(**MID_ROLLOUT), [pod("a", "uid-of-web-new", waiting("CrashLoopBackOff", restarts=2, ended=ERROR))]
        ),
        timedelta(1),
        State.PROGRESSING,
        "CrashLoopBackOff",
    ),
    (
        "crash loop of an injected init container",
        seen(
            resource(**MID_ROLLOUT),
            [
                pod(
                    "a",
                    phase="Pending",
                    status={"initContainerStatuses": [waiting("CrashLoopBackOff", restarts=5)]},
                )
            ],
        ),
        timedelta(1),
        State.UNHEALTHY,
        "CrashLoopBackOff",
    ),
    (
        "out of memory twice",
        seen(resource(**MID_ROLLOUT), [pod("a", "uid-of-web-new", waiting("CrashLoopBackOff", restarts=2, ended=OOM))]),
        timedelta(1),
        State.UNHEALTHY,
        "OOMKilled",
    ),
    (
        "out of memory once",
        seen(resource(**MID_ROLLOUT), [pod("a", "uid-of-web-new", running(ready=False, restarts=1, ended=OOM))]),
        timedelta(1),
        State.PROGRESSING,
        "Progressing",
    ),
    (
        "out of memory long ago, ready since",
        seen(resource(**SETTLED), [pod("a", "uid-of-web-new", running(restarts=9, ended=OOM))]),
        timedelta(1),
        State.READY,
        "Baking",
    ),
    *(
        (
            reason,
            seen(resource(**MID_ROLLOUT), [pod("a", "uid-of-web-new", waiting(reason), phase="Pending")]),
            timedelta(1),
            State.UNHEALTHY,
            reason,
        )
        for reason in ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
    ),
    # Pods that may yet come up.
    *(
        (
            f"{reason} {'late' if left == EXPIRED else 'early'}",
            seen(resource(**MID_ROLLOUT), [pod("a", "uid-of-web-new", waiting(reason), phase="Pending")]),
            left,
            state,
            reason,
        )
        for reason in ("ErrImagePull", "CreateContainerConfigError")
        for left, state in ((timedelta(1), State.PROGRESSING), (EXPIRED, State.UNHEALTHY))
    ),
    (
        "starting",
        seen(resource(**MID_ROLLOUT), [pod("a", "uid-of-web-new", waiting("ContainerCreating"), phase="Pending")]),
        timedelta(1),
        State.PROGRESSING,
        "Progressing",
    ),
    (
        "no room, early",
        seen(resource(**MID_ROLLOUT), [pod("a", phase="Pending", conditions=unschedulable(NO_ROOM))]),
        timedelta(1),
        State.PROGRESSING,
        "Unschedulable",
    ),
    (
        "no room, late",
        seen(resource(**MID_ROLLOUT), [pod("a", phase="Pending", conditions=unschedulable(NO_ROOM))]),
        EXPIRED,
        State.UNHEALTHY,
        "Unschedulable",
    ),
    # What the object says itself.
    (
        "pods that may not be made",
        seen(
            resource(
                **MID_ROLLOUT,
                conditions=[condition("ReplicaFailure", reason="FailedCreate", message="exceeded quota: gpus")],
            )
        ),
        EXPIRED,
        State.UNHEALTHY,
        "FailedCreate",
    ),
    (
        "no progress, early: left over from before a rollback",
        seen(
            resource(
                **MID_ROLLOUT,
                conditions=[
                    condition("Progressing", "False", reason="ProgressDeadlineExceeded", message="no progress")
                ],
            )
        ),
        timedelta(1),
        State.PROGRESSING,
        "ProgressDeadlineExceeded",
    ),
    (
        "no progress, late",
        seen(
            resource(
                **MID_ROLLOUT,
                conditions=[
                    condition("Progressing", "False", reason="ProgressDeadlineExceeded", message="no progress")
                ],
            )
        ),
        EXPIRED,
        State.UNHEALTHY,
        "ProgressDeadlineExceeded",
    ),
    ("never ready", seen(resource(**counts(2, 2, 0, 0))), EXPIRED, State.UNHEALTHY, "DeadlineExceeded"),
    # Pods that say nothing about this revision.
    (
        "broken pods of an old ReplicaSet",
        seen(resource(**SETTLED), [pod("a", "uid-of-web-old", waiting("CrashLoopBackOff", restarts=9))]),
        timedelta(1),
        State.READY,
        "Baking",
    ),
    (
        "a broken pod that is being deleted",
        seen(
            resource(**SETTLED),
            [
                pod(
                    "a",
                    "uid-of-web-new",
                    waiting("CrashLoopBackOff", restarts=9),
                    deletionTimestamp="2026-03-01T11:59:00Z",
                )
            ],
        ),
        timedelta(1),
        State.READY,
        "Baking",
    ),
    (
        "a ReplicaSet of the same number under another owner",
        seen(
            resource(**MID_ROLLOUT),
            [pod("a", "uid-of-stray", waiting("ImagePullBackOff"))],
            [replica_set("stray", 3, owner="someone"), OLD],
        ),
        timedelta(1),
        State.PROGRESSING,
        "Progressing",
    ),
    # Settled, or only nearly.
    ("all there", seen(resource(**SETTLED)), timedelta(1), State.READY, "Baking"),
    ("all there, past the deadline", seen(resource(**SETTLED)), EXPIRED, State.READY, "Baking"),
    ("one not ready", seen(resource(**counts(2, 2, 1, 1))), timedelta(1), State.PROGRESSING, "Progressing"),
    ("one not available yet", seen(resource(**counts(2, 2, 2, 1))), timedelta(1), State.PROGRESSING, "Progressing"),
    ("an old one left", seen(resource(**counts(3, 2, 3, 3))), timedelta(1), State.PROGRESSING, "Progressing"),
    ("an old one stands in", seen(resource(**counts(3, 2, 2, 2))), timedelta(1), State.PROGRESSING, "Progressing"),
    ("scaled to zero", seen(resource(desired=0)), EXPIRED, State.HEALTHY, "ScaledToZero"),
    (
        "scaling to zero",
        seen(resource(desired=0, **counts(1, 1, 1, 1))),
        timedelta(1),
        State.PROGRESSING,
        "Progressing",
    ),
]


@pytest.mark.parametrize(
    ("observation", "left", "state", "reason"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_deployment(observation: Observation, left: timedelta, state: State, reason: str) -> None:
    found = judged(observation, left=left)
    assert (found.state, found.reason) == (state, reason)
    assert found.message


@pytest.mark.parametrize(
    ("ready_for", "state"),
    [(None, State.READY), (BAKE - timedelta(seconds=1), State.READY), (BAKE, State.HEALTHY), (BAKE * 9, State.HEALTHY)],
)
def test_ready_becomes_healthy_after_the_bake(ready_for: timedelta | None, state: State) -> None:
    since = None if ready_for is None else NOW - ready_for
    found = judged(seen(resource(**SETTLED)), ready_since=since)
    assert found.state is state
    assert found.ready_since == (since or NOW)


def test_without_a_bake_ready_is_healthy_at_once() -> None:
    found = verdict(seen(resource(**SETTLED)), watched(), now=NOW, bake=timedelta(0), pull_grace=PULL_GRACE)
    assert (found.state, found.ready_since) == (State.HEALTHY, NOW)


def test_an_interruption_restarts_the_bake() -> None:
    found = judged(seen(resource(**counts(2, 2, 1, 1))), ready_since=NOW - BAKE * 9)
    assert (found.state, found.ready_since) == (State.PROGRESSING, None)


def test_without_a_deadline_nothing_is_late() -> None:
    assert judged(seen(resource(**counts(2, 2, 0, 0))), left=None).state is State.PROGRESSING


BROKEN = [
    waiting("CrashLoopBackOff", restarts=2, ended=OOM),
    waiting("CrashLoopBackOff", restarts=7, ended=ERROR),
    waiting("InvalidImageName"),
]


@pytest.mark.parametrize("container", BROKEN, ids=["out of memory", "crash loop", "image"])
@pytest.mark.parametrize("why", ["Evicted", "Terminated", "NodeShutdown"])
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "Job"])
def test_a_pod_that_is_over_does_not_speak_for_the_ones_that_count(kind: str, why: str, container: Document) -> None:
    owner = "uid-of-web-new" if kind == "Deployment" else UID
    left_behind = over(pod("a", owner, container, labels={"controller-revision-hash": "new"}), why)
    found = resource(kind, updateRevision="new", **({} if kind == "Job" else counts(1, 1, 1, 1)))
    made = judged(seen(found, [left_behind]), kind)
    assert made.state is State.PROGRESSING
    assert "pod a" not in made.message


def test_a_pod_that_ran_out_of_memory_and_runs_again_is_not_broken() -> None:
    recovered = pod("a", "uid-of-web-new", running(ready=False, restarts=5, ended=OOM))
    assert judged(seen(resource(**MID_ROLLOUT), [recovered])).state is State.PROGRESSING


def pulling(message: str, reason: str = "ImagePullBackOff") -> Observation:
    container = waiting(reason, message=message)
    return seen(resource(**MID_ROLLOUT), [pod("a", "uid-of-web-new", container, phase="Pending")])


PULL = 'Back-off pulling image "reg.example/m:2": ErrImagePull: rpc error: '
RESOLVE = 'failed to pull and unpack image "reg.example/m:2": failed to resolve reference "reg.example/m:2": '
PERMANENT_PULLS = [
    f"{PULL}code = NotFound desc = {RESOLVE}reg.example/m:2: not found",
    f"{PULL}code = Unknown desc = {RESOLVE}unexpected status from HEAD request to https://r.example: 404 Not Found",
    f"{PULL}code = Unknown desc = {RESOLVE}pull access denied, repository does not exist or may require authorization: "
    "server message: insufficient_scope: authorization failed",
    f"{PULL}code = Unknown desc = {RESOLVE}failed to authorize: failed to fetch oauth token: unexpected status from "
    "POST request to https://reg.example/token: 401 Unauthorized",
    f"{PULL}code = Unknown desc = Requesting bearer token: unauthorized: authentication required",
    f"{PULL}code = Unknown desc = reading manifest 2 in reg.example/m: manifest unknown",
    f"{PULL}code = Unknown desc = Error response from daemon: manifest for reg.example/m:2 not found: manifest unknown",
    f"{PULL}code = Unknown desc = {RESOLVE}unexpected status from HEAD request to https://x.ecr.aws: 403 Forbidden",
    "rpc error: code = InvalidArgument desc = failed to parse image reference: invalid reference format",
]
TRANSIENT_PULLS = [
    'Back-off pulling image "reg.example/m:2"',
    f'{PULL}code = Unknown desc = {RESOLVE}failed to do request: Head "https://reg.example/v2": dial tcp 10.0.0.9:443: '
    "connect: connection refused",
    f"{PULL}code = Unknown desc = {RESOLVE}failed to do request: dial tcp: lookup reg.example: no such host",
    f"{PULL}code = Unavailable desc = {RESOLVE}unexpected status from HEAD request: 503 Service Unavailable",
    f"{PULL}code = Unknown desc = {RESOLVE}toomanyrequests: You have reached your unauthenticated pull rate limit",
    f"{PULL}code = DeadlineExceeded desc = {RESOLVE}context deadline exceeded",
    'Back-off pulling image "reg.example/unauthorized/access denied:2": ErrImagePull: i/o timeout',
    "failed to resolve reg.example/teams/unauthorized:2: connection reset by peer",
]


@pytest.mark.parametrize("message", TRANSIENT_PULLS)
def test_a_registry_that_is_away_for_a_moment_is_waited_for(message: str) -> None:
    early = judged(pulling(message), age=timedelta(seconds=3))
    assert (early.state, early.reason) == (State.PROGRESSING, "ImagePullBackOff")
    assert message[:40] in early.message
    assert judged(pulling(message), age=timedelta(seconds=59)).state is State.PROGRESSING
    assert judged(pulling(message), age=timedelta(seconds=60)).state is State.UNHEALTHY


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "ErrImagePull"])
@pytest.mark.parametrize("message", PERMANENT_PULLS)
def test_a_pull_that_cannot_mend_itself_is_not_waited_for(message: str, reason: str) -> None:
    found = judged(pulling(message, reason), age=timedelta(seconds=1))
    assert (found.state, found.reason) == (State.UNHEALTHY, reason)


def test_the_grace_of_a_failed_pull_can_be_set() -> None:
    found = pulling("i/o timeout")
    revision = watched(age=timedelta(minutes=8))
    assert verdict(found, revision, now=NOW, bake=BAKE, pull_grace=timedelta(minutes=9)).state is State.PROGRESSING
    assert verdict(found, revision, now=NOW, bake=BAKE, pull_grace=timedelta(minutes=8)).state is State.UNHEALTHY


QUOTA = 'pods "web-0" is forbidden: exceeded quota: q, requested: cpu=4, used: cpu=0, limited: cpu=1'


@pytest.mark.parametrize("kind", ["StatefulSet", "Job"])
@pytest.mark.parametrize(("left", "state"), [(timedelta(1), State.PROGRESSING), (EXPIRED, State.UNHEALTHY)])
def test_pods_that_a_quota_refuses_are_named_with_the_reason(kind: str, left: timedelta, state: State) -> None:
    old = refusal("admission webhook said no", at="2026-03-01T11:00:00Z")
    observation = replace(seen(resource(kind)), refusals=(old, refusal(QUOTA), refusal("older still", at="2026")))
    found = judged(observation, kind, left=left)
    assert (found.state, found.reason) == (state, "FailedCreate")
    assert "exceeded quota: q" in found.message


SETTLED_STATUS = [RevisionStatus.HEALTHY, RevisionStatus.DEGRADED]
RESTARTING = counts(4, 1, 3, 3)
"""`kubectl rollout restart`: a surge pod is starting, and the three that are wanted serve."""


@pytest.mark.parametrize("status", SETTLED_STATUS)
@pytest.mark.parametrize(
    "found",
    [
        resource(desired=3, **RESTARTING),
        resource(desired=3, observedGeneration=6, **counts(3, 3, 3, 3)),
        resource(desired=6, **counts(6, 6, 3, 3)),
        resource(desired=6, observedGeneration=6, **counts(3, 3, 3, 3)),
        resource(desired=1, **counts(2, 2, 2, 2)),
    ],
    ids=["restarting", "restart not taken up", "scaled up", "scale-up not taken up", "scaled down"],
)
def test_a_settled_revision_is_healthy_while_its_wanted_replicas_are_available(
    status: RevisionStatus, found: Document
) -> None:
    starting = pod("a", "uid-of-web-new", waiting("CrashLoopBackOff", restarts=9, ended=ERROR))
    more: Document = {"left": EXPIRED, "status": status, "replicas": 3, "ready_since": NOW - BAKE}
    made = judged(seen(found, [starting]), **more)
    assert (made.state, made.ready_since) == (State.HEALTHY, NOW - BAKE)


@pytest.mark.parametrize("status", SETTLED_STATUS)
@pytest.mark.parametrize(
    "found",
    [
        resource(desired=3, **counts(3, 3, 3, 2)),
        resource(desired=6, **counts(6, 6, 2, 2)),
        resource(desired=2, **counts(2, 2, 1, 1)),
        resource(desired=3, revision=3, **counts(3, 3, 3, 3)),
    ],
    ids=["one lost", "one lost of more", "one lost of fewer", "another revision"],
)
def test_a_settled_revision_that_lacks_replicas_is_not_healthy(status: RevisionStatus, found: Document) -> None:
    made = judged(seen(found), status=status, replicas=3, ready_since=NOW - BAKE)
    assert (made.state, made.ready_since) == (State.PROGRESSING, None)


def test_an_autoscaler_that_wants_more_does_not_hold_a_new_revision_up() -> None:
    scaled = resource(desired=9, **counts(9, 9, 3, 3))
    assert judged(seen(scaled), left=EXPIRED, replicas=3).state is State.READY
    still_old = resource(desired=9, **counts(9, 8, 3, 3))
    assert judged(seen(still_old), left=EXPIRED, replicas=3).state is State.UNHEALTHY


@pytest.mark.parametrize("labels", [{}, None, {"example.org/theirs": "kept"}], ids=["empty", "none", "others"])
def test_the_uid_that_was_applied_says_whose_an_object_without_labels_is(labels: Document | None) -> None:
    stripped = resource(**SETTLED)
    stripped["metadata"]["labels"] = labels
    if labels is None:
        del stripped["metadata"]["labels"]
    assert judged(seen(stripped), uid=UID).state is State.READY
    assert judged(seen(stripped), uid="another").state is State.MISSING
    assert judged(seen(stripped)).state is State.MISSING


def test_an_object_that_was_given_to_another_workload_is_not_taken_back_by_its_uid() -> None:
    assert judged(seen(resource(instance="else", **SETTLED)), uid=UID).state is State.MISSING


def stateful_pod(name: str, revision: str, *containers: Document) -> Document:
    return pod(name, UID, *containers, labels={"controller-revision-hash": revision})


@pytest.mark.parametrize(
    ("pods", "state"),
    [
        ([stateful_pod("web-1", "web-new", waiting("ImagePullBackOff"))], State.UNHEALTHY),
        ([stateful_pod("web-1", "web-old", waiting("ImagePullBackOff"))], State.PROGRESSING),
    ],
    ids=["new", "old"],
)
def test_a_stateful_set_is_judged_by_the_pods_of_its_update_revision(pods: list[Document], state: State) -> None:
    found = resource("StatefulSet", updateRevision="web-new", **counts(2, 1, 1, 1))
    assert judged(seen(found, pods, ()), "StatefulSet").state is state


def test_a_stateful_set_settles() -> None:
    found = resource("StatefulSet", updateRevision="web-new", **SETTLED)
    assert judged(seen(found), "StatefulSet", ready_since=NOW - BAKE).state is State.HEALTHY


@pytest.mark.parametrize(
    ("replicas", "available", "state"),
    [
        ({"min": 2, "max": 6}, 2, State.HEALTHY),
        ({"min": 2, "max": 6}, 1, State.PROGRESSING),
        ({"min": 0, "max": 6}, 1, State.HEALTHY),
        ({"min": 0, "max": 6}, 0, State.PROGRESSING),
        (6, 4, State.PROGRESSING),
    ],
)
def test_of_autoscaled_replicas_the_minimum_has_to_be_available(replicas: object, available: int, state: State) -> None:
    spec = WorkloadSpec.model_validate({"name": "web", "type": "inference", "image": "nginx:1", "replicas": replicas})
    document = manifest(spec, workload_id=spec.id, plan_id=spec.id, revision=4, generation=1)
    revision = replace(watched(status=RevisionStatus.HEALTHY, replicas=6, ready_since=NOW - BAKE), manifest=document)
    found = seen(resource(desired=5, **counts(5, 5, available, available)))
    assert verdict(found, revision, now=NOW, bake=BAKE, pull_grace=PULL_GRACE).state is state


def job_pod(name: str, phase: str, *containers: Document, **more: Any) -> Document:
    return pod(name, UID, *containers, phase=phase, **more)


def completing(index: int, phase: str, *containers: Document) -> Document:
    """A pod of a Job with several completions. Its name is of no pod that works at the same."""
    found = job_pod(f"web-{index}-{phase.lower()}", phase, *containers)
    found["metadata"]["annotations"] = {"batch.kubernetes.io/job-completion-index": str(index)}
    return found


FAILED = [condition("FailureTarget"), condition("Failed", reason="BackoffLimitExceeded", message="backoff limit")]
STOPPED = {"name": "main", "state": {"terminated": ended("Error", 3)}}
JOB_CASES: list[tuple[str, Document, list[Document], timedelta, State, str, str]] = [
    (
        "complete",
        resource("Job", succeeded=2, conditions=[condition("Complete")]),
        [],
        EXPIRED,
        State.COMPLETED,
        "Complete",
        "2 pods succeeded",
    ),
    (
        "failed, with a pod that says how",
        resource("Job", failed=1, conditions=FAILED),
        [job_pod("web-0", "Succeeded"), job_pod("web-1", "Failed", STOPPED)],
        timedelta(1),
        State.UNHEALTHY,
        "JobFailed",
        "pod web-1: Error, exit code 3",
    ),
    (
        "failed, evicted",
        resource("Job", failed=1, conditions=FAILED),
        [job_pod("web-1", "Failed", status={"reason": "Evicted", "message": "low on memory"})],
        timedelta(1),
        State.UNHEALTHY,
        "JobFailed",
        "pod web-1: low on memory",
    ),
    (
        "failed, pods gone",
        resource("Job", conditions=FAILED),
        [],
        timedelta(1),
        State.UNHEALTHY,
        "JobFailed",
        "backoff limit",
    ),
    (
        "failing, not yet failed",
        resource("Job", conditions=FAILED[:1]),
        [job_pod("web-0", "Running"), job_pod("web-1", "Failed")],
        EXPIRED,
        State.PROGRESSING,
        "Running",
        "",
    ),
    (
        "running past the deadline",
        resource("Job", active=2, succeeded=0),
        [job_pod("web-0", "Running"), job_pod("web-1", "Running")],
        EXPIRED,
        State.PROGRESSING,
        "Running",
        "0 of 2 pods have succeeded",
    ),
    (
        "done, but not counted yet",
        resource("Job"),
        [job_pod("web-0", "Succeeded"), job_pod("web-1", "Succeeded")],
        EXPIRED,
        State.PROGRESSING,
        "Running",
        "",
    ),
    ("done and collected", resource("Job", succeeded=2), [], EXPIRED, State.PROGRESSING, "Running", ""),
    (
        "half started",
        resource("Job"),
        [job_pod("web-0", "Running"), job_pod("web-1", "Pending", conditions=unschedulable(NO_ROOM))],
        EXPIRED,
        State.UNHEALTHY,
        "Unschedulable",
        NO_ROOM,
    ),
    (
        "one of two is replaced, and the other waits for its first start",
        resource("Job"),
        [completing(0, "Failed"), completing(0, "Running"), completing(1, "Pending")],
        EXPIRED,
        State.UNHEALTHY,
        "DeadlineExceeded",
        "not all pods of the Job have started",
    ),
    ("not started", resource("Job"), [], timedelta(1), State.PROGRESSING, "Progressing", "not all pods of the Job"),
    (
        "unpullable",
        resource("Job"),
        [job_pod("web-0", "Pending", waiting("ImagePullBackOff", message="Back-off pulling image"))],
        timedelta(1),
        State.UNHEALTHY,
        "ImagePullBackOff",
        "pod web-0: image registry.example/model:2: Back-off pulling image",
    ),
]


@pytest.mark.parametrize(
    ("found", "pods", "left", "state", "reason", "words"),
    [case[1:] for case in JOB_CASES],
    ids=[case[0] for case in JOB_CASES],
)
def test_a_job(found: Document, pods: list[Document], left: timedelta, state: State, reason: str, words: str) -> None:
    made = judged(seen(found, pods, ()), "Job", left=left)
    assert (made.state, made.reason) == (state, reason)
    assert words in made.message


PULLING = waiting("ImagePullBackOff", message="Back-off pulling image")


@pytest.mark.parametrize(
    ("pods", "reason"),
    [
        ([completing(0, "Running"), completing(1, "Running")], "Running"),
        ([completing(0, "Running")], "Restarting"),
        ([completing(0, "Running"), completing(1, "Pending")], "Restarting"),
        ([completing(0, "Running"), completing(1, "Pending", PULLING)], "ImagePullBackOff"),
        ([], "Restarting"),
    ],
)
def test_a_job_that_ran_once_may_wait_for_lost_pods_past_its_deadline(pods: list[Document], reason: str) -> None:
    since = NOW - timedelta(hours=2)
    made = judged(seen(resource("Job"), pods, ()), "Job", left=EXPIRED, ready_since=since)
    assert (made.state, made.reason, made.ready_since) == (State.PROGRESSING, reason, since)


def test_a_job_has_run_since_all_its_pods_had_started() -> None:
    pods = [completing(0, "Running"), completing(1, "Running")]
    assert judged(seen(resource("Job"), pods, ()), "Job").ready_since == NOW
    assert judged(seen(resource("Job"), pods[:1], ()), "Job").ready_since is None


@pytest.mark.parametrize(
    ("observation", "left", "words"),
    [
        (seen(None), EXPIRED, "Deployment search/web is not on cluster eu"),
        (seen(resource(instance="else")), EXPIRED, "Deployment search/web belongs to another workload"),
        (seen(resource(revision=3)), EXPIRED, "not ready at its deadline: the cluster has revision 3, not 4"),
        (seen(resource(observedGeneration=1)), EXPIRED, "the cluster's controllers have not taken up the change"),
        (
            seen(resource(**MID_ROLLOUT)),
            timedelta(1),
            "1 of 2 replicas are updated, 2 of 3 ready, 2 available",
        ),
        (
            seen(resource(), [pod(name, phase="Pending", conditions=unschedulable(NO_ROOM)) for name in "cab"]),
            EXPIRED,
            f"not ready at its deadline: pod a (and 2 more pods): {NO_ROOM}",
        ),
        (
            seen(resource(), [pod("a", "uid-of-web-new", waiting("CrashLoopBackOff", restarts=4, ended=ERROR))]),
            timedelta(1),
            "pod a: Error, exit code 1, 4 restarts",
        ),
        (
            seen(resource(), [pod("a", "uid-of-web-new", waiting("CrashLoopBackOff", restarts=4))]),
            timedelta(1),
            "pod a: the container keeps stopping, 4 restarts",
        ),
    ],
)
def test_a_message_is_a_sentence_for_people(observation: Observation, left: timedelta, words: str) -> None:
    assert words in judged(observation, left=left).message


def test_a_long_winded_registry_is_cut_short() -> None:
    chatty = pod("a", "uid-of-web-new", waiting("ImagePullBackOff", message="x" * 5000))
    assert len(judged(seen(resource(), [chatty])).message) == 500


small = st.integers(0, 4)
containers = st.builds(
    lambda reason, restarts, last: waiting(reason, restarts=restarts, ended=last),
    st.sampled_from(["CrashLoopBackOff", "ImagePullBackOff", "ContainerCreating", "ErrImagePull"]),
    st.integers(0, 5),
    st.sampled_from([None, OOM, ERROR]),
) | st.builds(running, ready=st.booleans(), restarts=st.integers(0, 5), ended=st.sampled_from([None, OOM]))
pods = st.lists(
    st.builds(
        lambda owner, container, phase: pod("p", owner, container, phase=phase),
        st.sampled_from(["uid-of-web-new", "uid-of-web-old", UID]),
        containers,
        st.sampled_from(["Pending", "Running", "Succeeded", "Failed"]),
    ),
    max_size=3,
)
objects = st.builds(
    lambda kind, replicas, revision, observed, numbers, conditions: resource(
        kind,
        desired=replicas,
        revision=revision,
        conditions=conditions,
        **counts(*numbers),
        **({} if kind == "Job" else {"observedGeneration": observed}),
    ),
    st.sampled_from(["Deployment", "StatefulSet", "Job"]),
    small,
    st.sampled_from([4, 4, 4, 3, None]),
    st.sampled_from([7, 7, 6]),
    st.tuples(small, small, small, small),
    st.lists(st.sampled_from([*FAILED, condition("Complete"), condition("Complete", "False")]), max_size=2),
)
observations = st.builds(lambda found, pods: seen(found, pods, (NEW, OLD)), objects, pods)
spans = st.integers(-100, 100).map(lambda seconds: timedelta(seconds=seconds))


@given(observations, spans, st.none() | st.integers(0, 100))
def test_whatever_is_seen_health_is_never_claimed_of_replicas_that_are_not_ready(
    observation: Observation, left: timedelta, ready_for: int | None
) -> None:
    since = None if ready_for is None else NOW - timedelta(seconds=ready_for)
    made = judged(observation, left=left, ready_since=since)
    assert observation.object is not None
    status, desired = observation.object["status"], observation.object["spec"].get("replicas")
    if made.state in (State.HEALTHY, State.READY):
        wanted = min(desired, 2)
        for name in ("readyReplicas", "updatedReplicas", "availableReplicas"):
            assert status.get(name, 0) >= wanted
        assert status.get("updatedReplicas", 0) == status.get("replicas", 0) <= desired
        assert status["observedGeneration"] == 7
        assert made.ready_since is not None
        assert made.state is State.READY or desired == 0 or NOW - made.ready_since >= BAKE
    elif observation.object["kind"] != "Job":
        assert made.ready_since is None


@given(observations, st.integers(0, 1000))
def test_what_is_late_and_not_ready_stays_unhealthy(observation: Observation, later: int) -> None:
    revision = watched(left=EXPIRED)
    first = verdict(observation, revision, now=NOW, bake=BAKE, pull_grace=PULL_GRACE)
    second = verdict(observation, revision, now=NOW + timedelta(seconds=later), bake=BAKE, pull_grace=PULL_GRACE)
    assert first.state is second.state
    assert first.state is not State.PROGRESSING or first.reason == "Running"


@given(observations, spans, st.integers(0, 1000))
def test_waiting_longer_never_undoes_an_unhealthy_verdict(
    observation: Observation, left: timedelta, later: int
) -> None:
    revision = watched(left=left)
    if verdict(observation, revision, now=NOW, bake=BAKE, pull_grace=PULL_GRACE).state is State.UNHEALTHY:
        at = NOW + timedelta(seconds=later)
        assert verdict(observation, revision, now=at, bake=BAKE, pull_grace=PULL_GRACE).state is State.UNHEALTHY
