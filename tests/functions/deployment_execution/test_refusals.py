"""What a cluster will never take: it is said, and what ran before still runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.clusters.answers import ApiAnswer
from shared.clusters.transport import Transport
from shared.eventing.processing import HttpAnswer
from shared.models.lifecycle import Phase, PlanStatus
from shared.store import audit
from tests.support.builders import connection_of, told
from tests.support.chain import Chain
from tests.support.cluster import Crash, troubled

FAILED = "dev.sentinel.deployment.failed.v1"
ALIEN = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "spec": {
        "replicas": 0,
        "selector": {"matchLabels": {"app": "theirs"}},
        "template": {
            "metadata": {"labels": {"app": "theirs"}},
            "spec": {"containers": [{"name": "c", "image": "theirs"}]},
        },
    },
}


def occupy(chain: Chain, name: str = "web", **labels: str) -> dict[str, Any]:
    """Somebody else has an object of that name."""
    namespace = chain.site.namespace
    if not any(n["metadata"]["name"] == namespace for n in chain.site.someone.get("/api/v1/namespaces")["items"]):
        chain.site.someone.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    return chain.site.someone.create(path, {**ALIEN, "metadata": {"name": name, "labels": labels}})


def test_an_object_of_somebody_else_is_left_alone(chain: Chain) -> None:
    theirs = occupy(chain)
    event = told(chain.apply())
    assert event.type == FAILED
    assert isinstance(event.data, dict)
    assert event.data["reason"] == "ApplyRefused"
    assert "not managed by Sentinel" in str(event.data["message"])
    assert chain.site.object()["spec"] == theirs["spec"]
    assert chain.workload().phase is Phase.FAILED
    assert chain.plan().status is PlanStatus.FAILED
    assert chain.reserved() == {}


def test_what_was_refused_is_removed_without_touching_the_cluster(chain: Chain) -> None:
    occupy(chain)
    chain.submit()
    chain.withdraw()
    assert chain.workload().phase is Phase.REMOVED
    assert len(chain.site.objects("Deployment")) == 1


def test_what_was_refused_is_removed_though_the_cluster_does_not_answer(chain: Chain) -> None:
    occupy(chain)
    chain.submit()
    chain.site.go_away()
    chain.withdraw()
    assert chain.workload().phase is Phase.REMOVED


def test_a_plan_that_waits_for_what_is_refused_is_decided_again_without_a_tick(chain: Chain) -> None:
    occupy(chain)
    chain.limit_gpus(2)
    refused = chain.until_approved(replicas=2)
    chain.submit("next", replicas=2, queue=True)
    assert chain.workload("next").phase is Phase.QUEUED
    chain.follow(refused)
    assert chain.workload().phase is Phase.FAILED
    assert chain.plan("next").status is PlanStatus.EXECUTED
    assert chain.told_types("web")[-2:] == ["deployment.failed", "reservation.released"]


def test_a_plan_that_waits_for_what_never_ran_is_decided_again_once_that_is_withdrawn(chain: Chain) -> None:
    chain.limit_gpus(2)
    chain.until_approved(replicas=2)
    chain.submit("next", replicas=2, queue=True)
    chain.withdraw()
    assert chain.workload().phase is Phase.REMOVED
    assert chain.plan("next").status is PlanStatus.EXECUTED
    assert chain.told_types("web")[-1] == "reservation.released"


def test_nobody_is_told_of_a_release_when_nobody_waits(chain: Chain) -> None:
    occupy(chain)
    chain.submit()
    chain.submit("web")
    chain.withdraw()
    assert "reservation.released" not in chain.told_types()


def give_away(chain: Chain, kind: str = "Deployment", name: str = "web") -> None:
    """Somebody takes an object over, by its label."""
    labels = {"app.kubernetes.io/managed-by": "somebody"}
    chain.site.someone.patch(chain.site.path(kind, name), {"metadata": {"labels": labels}})


def test_a_rollout_keeps_its_surge_when_the_edit_after_it_is_refused(chain: Chain) -> None:
    chain.submit(replicas=2)
    chain.settle()
    rolling = chain.apply(replicas=2, image="fate.test/ready:2")
    give_away(chain)
    assert told(chain.apply(replicas=4, image="fate.test/ready:3")).type == FAILED
    assert chain.gpus() == 2 + 1
    chain.follow(rolling)
    chain.until(chain.gpus, lambda gpus: gpus == 2)


def test_the_older_revision_runs_on_and_the_reservation_is_that_of_what_runs(chain: Chain) -> None:
    chain.submit(replicas=1)
    chain.settle()
    give_away(chain)
    assert told(chain.apply(replicas=3, image="fate.test/ready:2")).type == FAILED
    assert chain.site.object()["spec"]["replicas"] == 1
    assert chain.gpus() == 1
    assert [d.status for d in chain.revisions()] == ["healthy", "failed"]
    assert "managed by somebody" in chain.workload().reason
    chain.tick()
    assert chain.workload().phase is Phase.FAILED
    restored = {"metadata": {"labels": {"app.kubernetes.io/managed-by": "sentinel"}}}
    chain.site.someone.patch(chain.site.path("Deployment", "web"), restored)
    chain.submit(replicas=1, image="fate.test/ready:3")
    assert chain.settle().phase is Phase.HEALTHY
    assert chain.gpus() == 1


def take_a_field(chain: Chain) -> None:
    """Somebody sets a field that Sentinel applies to a value of their own."""
    chain.site.someone.patch(chain.site.path("Deployment", "web"), {"spec": {"progressDeadlineSeconds": 77}})


def test_a_field_that_somebody_else_owns_is_reported(chain: Chain) -> None:
    chain.submit(replicas=1)
    chain.settle()
    take_a_field(chain)
    event = told(chain.apply(replicas=4))
    assert isinstance(event.data, dict)
    assert (event.type, event.data["reason"]) == (FAILED, "Conflict")
    assert "kubectl-edit" in str(event.data["message"])
    assert chain.site.object()["spec"]["progressDeadlineSeconds"] == 77


def test_a_removal_that_is_refused_says_so_and_keeps_the_reservation(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    give_away(chain)
    approved = chain.until_removal_approved()
    event = told(chain.forward(approved))
    assert isinstance(event.data, dict)
    assert (event.type, event.data["reason"]) == (FAILED, "RemoveRefused")
    assert chain.workload().phase is Phase.FAILED
    assert chain.gpus() == 1


def test_an_earlier_job_that_may_not_be_deleted_does_not_undo_the_new_one(chain: Chain) -> None:
    chain.submit(type="training", image="fate.test/never-ready")
    give_away(chain, "Job", "web-r1")
    answer = chain.apply(type="training", image="fate.test/never-ready:2")
    assert answer.headers["ce-type"] == "dev.sentinel.deployment.applied.v1"
    assert [job["metadata"]["name"] for job in chain.site.objects("Job")] == ["web-r1", "web-r2"]
    with chain.store.begin() as work:
        last = audit.entries(connection_of(work), str(chain.id()))[-1]
    assert "managed by somebody" in last.detail["left"]


@pytest.mark.parametrize("decision", ["approved", "denied"])
def test_a_refusal_after_a_newer_plan_leaves_the_ledger_to_that(chain: Chain, decision: str) -> None:
    occupy(chain)
    old = chain.until_approved(replicas=1)
    with chain.held_up(old):
        if decision == "denied":
            chain.limit_gpus(1)
        chain.until_approved(replicas=4, image="fate.test/ready:2")
    assert chain.plan().status.value == decision
    assert chain.gpus() == (5 if decision == "approved" else 0)  # with the surge of an edit
    assert chain.workload().phase.value == decision


def test_a_crash_after_a_refusal_is_refused_again(chain: Chain) -> None:
    occupy(chain)
    approved = chain.until_approved()
    chain.site.crashes = 1
    with pytest.raises(Crash):
        chain.forward(approved)
    chain.pass_plan_time(60)
    assert chain.forward(approved).headers["ce-type"] == FAILED


def arrived_and_cut_off(chain: Chain, **fields: Any) -> HttpAnswer:
    """The cluster takes the object, and the process dies before it knows. The plan's lease is over."""
    approved = chain.until_approved(**fields)
    chain.site.late_crashes = 1
    with pytest.raises(Crash):
        chain.forward(approved)
    chain.pass_plan_time(60)
    return approved


def test_an_apply_that_arrived_before_somebody_took_a_field_has_not_failed(chain: Chain) -> None:
    approved = arrived_and_cut_off(chain, replicas=2)
    take_a_field(chain)
    chain.follow(approved)
    assert chain.settle().phase is Phase.HEALTHY
    assert chain.gpus() == 2
    chain.withdraw()
    chain.workload_is(Phase.REMOVED)
    assert chain.site.objects("Deployment") == []
    assert chain.reserved() == {}


def test_what_may_have_arrived_and_cannot_be_seen_waits(chain: Chain, tmp_path: Path) -> None:
    approved = arrived_and_cut_off(chain)
    with troubled(403, tmp_path) as server:
        chain.site.go_away(server.kubeconfig)
        chain.follow(approved)
    assert chain.workload().phase is Phase.WAITING
    assert "whether an earlier attempt arrived cannot be seen" in chain.workload().reason
    assert chain.gpus() == 1
    chain.site.come_back()
    assert chain.settle().phase is Phase.HEALTHY


def test_what_cannot_be_seen_until_its_deadline_has_failed(chain: Chain, tmp_path: Path) -> None:
    approved = chain.until_approved(deadline="PT1M")
    chain.site.crashes = 1
    with pytest.raises(Crash):
        chain.forward(approved)
    chain.pass_plan_time(60)
    with troubled(403, tmp_path) as server:
        chain.site.go_away(server.kubeconfig)
        chain.follow(approved)
        assert chain.workload().phase is Phase.WAITING
        chain.pass_time(61, created_at=True)
        chain.pass_plan_time(60)
        chain.tick()
    assert (chain.workload().phase, chain.plan().status) == (Phase.FAILED, PlanStatus.FAILED)
    assert "whether an earlier attempt arrived cannot be seen" in chain.workload().reason
    assert chain.reserved() == {}


def test_a_conflict_fails_what_never_arrived(chain: Chain) -> None:
    chain.submit(replicas=1)
    chain.settle()
    take_a_field(chain)
    approved = chain.until_approved(replicas=4)
    chain.site.crashes = 1
    with pytest.raises(Crash):
        chain.forward(approved)
    chain.pass_plan_time(60)
    assert chain.forward(approved).headers["ce-type"] == FAILED
    assert [d.status for d in chain.revisions()] == ["healthy", "failed"]
    assert chain.gpus() == 1


def free(chain: Chain) -> None:
    """Somebody else's object is gone again."""
    chain.site.someone.delete(chain.site.path("Deployment", "web"))
    chain.until_seen(lambda: chain.site.objects("Deployment"), lambda found: found == [])


def test_what_comes_after_it_was_refused_is_taken_away(chain: Chain) -> None:
    occupy(chain)
    approved = chain.until_approved()
    with chain.held_up(approved):
        chain.pass_plan_time(60)
        chain.tick()
        assert chain.workload().phase is Phase.FAILED
        free(chain)
    assert len(chain.site.objects("Deployment")) == 1
    chain.until(lambda: chain.site.objects("Deployment"), lambda found: found == [])
    assert (chain.workload().phase, chain.plan().status) == (Phase.FAILED, PlanStatus.FAILED)
    assert "not managed by Sentinel" in chain.workload().reason
    assert chain.reserved() == {}


def test_a_removal_deletes_what_is_there_under_a_name_that_was_refused(chain: Chain) -> None:
    occupy(chain)
    chain.submit()
    free(chain)
    [refused] = chain.revisions()
    chain.site.driver("local").apply(refused.manifest)
    chain.withdraw()
    assert chain.workload().phase is Phase.REMOVED
    chain.until_seen(lambda: chain.site.objects("Deployment"), lambda found: found == [])


@pytest.fixture
def undeletable(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The cluster refuses every deletion, until this is undone."""

    def forbidden(*_: object) -> ApiAnswer:
        return ApiAnswer("DELETE", 403, {"kind": "Status", "message": "denied by a webhook"})

    with monkeypatch.context() as patch:
        patch.setattr(Transport, "delete", forbidden)
        yield patch


def test_an_earlier_job_whose_deletion_was_refused_is_deleted_later(
    chain: Chain, undeletable: pytest.MonkeyPatch
) -> None:
    chain.submit(type="training", image="fate.test/never-ready")
    chain.submit(type="training", image="fate.test/never-ready:2")
    for _ in range(3):
        chain.pass_plan_time(10)
        chain.tick()
    assert [job["metadata"]["name"] for job in chain.site.objects("Job")] == ["web-r1", "web-r2"]
    assert [d.status for d in chain.revisions()] == ["removing", "verifying"]
    assert chain.gpus() == 2
    undeletable.undo()
    [job] = chain.until(lambda: chain.site.objects("Job"), lambda found: len(found) == 1)
    assert job["metadata"]["name"] == "web-r2"
    chain.until(chain.gpus, lambda gpus: gpus == 1)
    assert [d.status for d in chain.revisions()] == ["removed", "verifying"]
    assert chain.workload().phase is Phase.VERIFYING


def test_a_removal_that_one_of_two_objects_refuses_removes_the_other(
    chain: Chain, undeletable: pytest.MonkeyPatch
) -> None:
    chain.submit(type="training", image="fate.test/never-ready")
    chain.submit(type="training", image="fate.test/never-ready:2")
    undeletable.undo()
    give_away(chain, "Job", "web-r1")
    chain.withdraw()
    assert (chain.workload().phase, chain.plan().status) == (Phase.FAILED, PlanStatus.FAILED)
    assert "RemoveRefused" in chain.workload().reason
    assert [job["metadata"]["name"] for job in chain.site.objects("Job")] == ["web-r1"]


def test_a_removal_deletes_an_earlier_job_that_was_given_back(chain: Chain) -> None:
    chain.submit(type="training", image="fate.test/never-ready")
    give_away(chain, "Job", "web-r1")
    chain.submit(type="training", image="fate.test/never-ready:2")
    assert [d.status for d in chain.revisions()] == ["superseded", "verifying"]
    restored = {"metadata": {"labels": {"app.kubernetes.io/managed-by": "sentinel"}}}
    chain.site.someone.patch(chain.site.path("Job", "web-r1"), restored)
    chain.withdraw()
    chain.workload_is(Phase.REMOVED)
    assert chain.site.objects("Job") == []
