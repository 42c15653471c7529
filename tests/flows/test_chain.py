"""The chain on a laptop platform, from a posted event to the cluster and back, judged by the store and the cluster."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from shared.models.amounts import NOTHING, Amounts
from shared.models.lifecycle import Phase, RevisionStatus
from shared.models.stored import Workload
from shared.policy.documents import PolicyDocument
from tests.support.running import RunningPlatform

pytestmark = pytest.mark.xdist_group("platform")

DEPLOYMENTS = "/apis/apps/v1/namespaces/flows/deployments"


def held(platform: RunningPlatform, workload: Workload) -> Amounts:
    lines = platform.read(lambda work: work.ledger.reserved(workload.id, workload.cluster))
    return sum(lines.values(), NOTHING)


def named(platform: RunningPlatform, name: str, path: str = DEPLOYMENTS) -> dict[str, Any] | None:
    return next((found for found in platform.objects(path) if found["metadata"]["name"] == name), None)


def gpus(count: int) -> dict[str, Any]:
    return {"cpu": "500m", "memory": "256Mi", "gpu": {"count": count, "sku": "H100"}}


@pytest.fixture(scope="module")
def slow(platform: RunningPlatform) -> dict[str, uuid.UUID]:
    """Workloads that have to wait for something: they wait beside each other, and beside the other tests."""
    return {
        "ranker": platform.submit("ranker", image="fate.test/ready:v1", deadline="PT2S"),
        "crashing": platform.submit("crashing", image="fate.test/crash", deadline="PT60S"),
        "vast": platform.submit("vast", deadline="PT2S", resources=gpus(64)),
    }


def put_policy(platform: RunningPlatform, name: str, team: str, rule: dict[str, Any]) -> None:
    document = PolicyDocument.model_validate({"name": name, "selector": {"teams": [team]}, "rules": [rule]})
    platform.read(lambda work: work.policies.put(document, "tests"))


@pytest.mark.usefixtures("slow")
def test_a_workload_is_approved_applied_and_healthy_and_holds_what_it_takes(platform: RunningPlatform) -> None:
    workload = platform.reaches(platform.submit("chat", replicas=2, resources=gpus(1)), Phase.HEALTHY)
    found = held(platform, workload)
    assert (found.replicas, found.gpus, found.cpu) == (2, 2, 1000)
    live = named(platform, "chat")
    assert live is not None
    assert live["status"]["readyReplicas"] == 2
    limits = live["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "1"
    assert platform.replies(str(workload.id)).keys() >= {"plan.proposed", "plan.approved", "deployment.applied"}


def test_a_cost_ceiling_denies_and_says_why(platform: RunningPlatform) -> None:
    put_policy(platform, "budget", "thrifty", {"type": "cost_ceiling", "scope": "workload", "usd_per_hour": "10"})
    denied = platform.submit("dear", team="thrifty", replicas=2, resources=gpus(8))
    workload = platform.reaches(denied, Phase.DENIED)
    [violation] = platform.replies(str(denied))["plan.denied"]["violations"]
    assert (violation["policy"], violation["rule"], violation["limit"]) == ("budget", "cost_ceiling", "10")
    assert "would cost 47.23 USD an hour; its ceiling is 10" in workload.reason
    assert held(platform, workload) == NOTHING
    assert named(platform, "dear") is None


def test_a_gpu_quota_denies_what_the_team_would_hold_beyond_it(platform: RunningPlatform) -> None:
    put_policy(platform, "gpus", "small", {"type": "quota", "scope": "team", "gpus": 2})
    first = platform.submit("fits", team="small", resources=gpus(2))
    platform.reaches(first, Phase.HEALTHY)
    workload = platform.reaches(platform.submit("over", team="small", resources=gpus(1)), Phase.DENIED)
    assert workload.reason == "team small would hold 3 GPUs; its quota is 2"
    assert held(platform, workload) == NOTHING
    platform.withdraw("fits", team="small")
    platform.reaches(first, Phase.REMOVED)
    platform.reaches(platform.submit("over", team="small", resources=gpus(1)), Phase.HEALTHY)


def test_a_removal_takes_the_object_away_and_gives_the_reservation_back(platform: RunningPlatform) -> None:
    gone = platform.submit("gone", resources=gpus(1))
    assert held(platform, platform.reaches(gone, Phase.HEALTHY)).gpus == 1
    platform.withdraw("gone")
    workload = platform.reaches(gone, Phase.REMOVED)
    assert named(platform, "gone") is None
    assert held(platform, workload) == NOTHING


def test_a_job_completes_and_then_holds_nothing(platform: RunningPlatform) -> None:
    workload = platform.reaches(platform.submit("train", type="training", replicas=2), Phase.COMPLETED)
    job = named(platform, "train-r1", "/apis/batch/v1/namespaces/flows/jobs")
    assert job is not None
    assert job["status"]["succeeded"] == 2
    assert held(platform, workload) == NOTHING


def test_a_stateful_workload_becomes_a_healthy_statefulset(platform: RunningPlatform) -> None:
    platform.reaches(platform.submit("vectors", type="stateful", replicas=2), Phase.HEALTHY)
    live = named(platform, "vectors", "/apis/apps/v1/namespaces/flows/statefulsets")
    assert live is not None
    assert live["status"]["readyReplicas"] == 2


def test_an_image_that_is_never_ready_is_rolled_back_to_the_revision_before(
    platform: RunningPlatform, slow: dict[str, uuid.UUID]
) -> None:
    ranker = slow["ranker"]
    before = platform.reaches(ranker, Phase.HEALTHY)
    first = named(platform, "ranker")
    platform.submit("ranker", image="fate.test/never-ready:v2", deadline="PT2S")
    workload = platform.reaches(ranker, Phase.ROLLED_BACK)
    live = named(platform, "ranker")
    assert first is not None
    assert live is not None
    assert live["spec"]["template"]["spec"] == first["spec"]["template"]["spec"]
    assert live["metadata"]["annotations"]["sentinel.dev/revision"] == "3"
    assert live["status"]["updatedReplicas"] == live["status"]["readyReplicas"] == 1
    assert held(platform, workload) == held(platform, before)
    revisions = platform.read(lambda work: work.deployments.of_workload(ranker))
    assert [(d.revision, d.rollback_of) for d in revisions] == [(1, None), (2, None), (3, 1)]
    assert revisions[1].reason == "ProgressDeadlineExceeded"
    assert revisions[2].status is RevisionStatus.HEALTHY


def test_a_first_revision_that_crashes_fails_with_the_pods_reason(
    platform: RunningPlatform, slow: dict[str, uuid.UUID]
) -> None:
    assert platform.reaches(slow["crashing"], Phase.FAILED).reason.startswith("CrashLoopBackOff")


def test_what_fits_on_no_node_says_so(platform: RunningPlatform, slow: dict[str, uuid.UUID]) -> None:
    assert platform.reaches(slow["vast"], Phase.FAILED).reason.startswith("Unschedulable: not ready at its deadline")
