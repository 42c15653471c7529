"""What becomes of a revision, on a cluster where pods meet the fate that their image asks for."""

from datetime import timedelta
from typing import Any

import pytest

from shared.models.lifecycle import Phase
from shared.rollout.manifests import INSTANCE_LABEL
from shared.store import outbox
from tests.support.builders import connection_of, request, set_columns, told
from tests.support.chain import Chain

NEVER = "fate.test/never-ready"
HEALTHY = "dev.sentinel.deployment.healthy.v1"
UNHEALTHY = "dev.sentinel.deployment.unhealthy.v1"
BREACHED = "dev.sentinel.slo.breached.v1"
PROPOSED = "dev.sentinel.plan.proposed.v1"


def all_ready(chain: Chain, count: int = 1) -> None:
    """Waits until the cluster says so, without Sentinel looking."""
    chain.until_seen(chain.site.object, lambda live: live.get("status", {}).get("availableReplicas") == count)


def test_without_a_bake_time_ready_is_healthy(chain: Chain) -> None:
    answer = chain.apply(replicas=2)
    all_ready(chain, 2)
    event = told(chain.forward(answer))
    assert event.type == HEALTHY
    assert isinstance(event.data, dict)
    assert event.data["message"] == "2 of 2 replicas are ready"
    workload = chain.workload()
    assert (workload.phase, workload.reason) == (Phase.HEALTHY, "")
    assert chain.gpus() == 2


def test_a_revision_is_watched_for_its_bake_time(chain: Chain) -> None:
    answer = chain.apply(bake="PT10M")
    all_ready(chain)
    assert chain.forward(answer).status == 202
    assert chain.workload().phase is Phase.VERIFYING
    assert chain.revisions()[0].ready_since is not None
    chain.pass_time(599)
    chain.tick()
    assert chain.workload().phase is Phase.VERIFYING
    chain.pass_time(2)
    chain.tick()
    assert chain.workload().phase is Phase.HEALTHY


def test_a_first_revision_that_never_becomes_ready_fails_and_keeps_its_reservation(chain: Chain) -> None:
    chain.submit(image=NEVER, replicas=2)
    chain.tick()
    assert chain.workload().phase is Phase.VERIFYING
    chain.pass_time(601)
    chain.tick()
    workload = chain.workload()
    assert workload.phase is Phase.FAILED
    assert "not ready at its deadline" in workload.reason
    assert chain.gpus() == 2
    assert chain.told_types()[-1] == "deployment.unhealthy"
    chain.tick()
    assert chain.told_types().count("deployment.unhealthy") == 1
    chain.withdraw()
    chain.workload_is(Phase.REMOVED)
    assert chain.reserved() == {}


def test_a_revision_that_never_becomes_ready_is_rolled_back(chain: Chain) -> None:
    chain.submit(replicas=1)
    chain.settle()
    good = chain.site.object()["spec"]
    chain.submit(image=NEVER, replicas=3)
    assert chain.gpus() == 4
    chain.pass_time(601)
    chain.tick()
    assert chain.workload_is(Phase.ROLLED_BACK).reason == ""
    live = chain.site.object()
    assert live["spec"] == good
    assert live["metadata"]["annotations"]["sentinel.dev/revision"] == "3"
    assert [(d.status, d.rollback_of) for d in chain.revisions()] == [
        ("superseded", None),
        ("superseded", None),
        ("healthy", 1),
    ]
    assert chain.gpus() == 1
    wanted = ["deployment.unhealthy", "plan.proposed", "plan.approved", "deployment.applied", "deployment.rolledback"]
    assert sorted(chain.told_types()[-5:]) == sorted(wanted)


def test_a_rollback_has_the_deadline_and_the_bake_time_of_the_revision_that_it_goes_back_to(chain: Chain) -> None:
    chain.submit(deadline="PT10M")
    chain.settle()
    chain.submit(image=NEVER, deadline="PT1S", bake="PT1H")
    chain.pass_time(2)
    chain.tick()
    chain.workload_is(Phase.ROLLED_BACK)
    rollback = chain.revisions()[-1]
    assert rollback.deadline_at is not None
    assert rollback.applied_at is not None
    assert rollback.deadline_at - rollback.applied_at == rollback.deadline == timedelta(minutes=10)
    assert rollback.bake == timedelta(0)


def test_the_proposal_is_the_reply_because_the_chain_goes_on_with_it(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    chain.submit(image=NEVER)
    chain.pass_time(601)
    assert chain.tick(run=False).headers["ce-type"] == PROPOSED
    with chain.store.begin() as work:
        assert [row.event.attributes["type"] for row in outbox.lock_pending(connection_of(work), 10)] == [UNHEALTHY]


@pytest.mark.parametrize(
    ("fate", "reason"),
    [
        pytest.param("crash", "CrashLoopBackOff", marks=pytest.mark.slow),
        ("oom", "OOMKilled"),
        ("image-pull", "ImagePullBackOff"),
    ],
)
def test_what_waiting_does_not_heal_does_not_wait_for_the_deadline(chain: Chain, fate: str, reason: str) -> None:
    chain.submit()
    chain.settle()
    chain.submit(image=f"fate.test/{fate}", deadline="P1D")
    assert chain.workload_is(Phase.ROLLED_BACK).revision == 3
    assert chain.revisions()[1].reason == reason


def test_a_rollback_that_fails_too_is_the_end(chain: Chain) -> None:
    """The good image was overwritten in its registry, say: what was healthy once is not any more."""
    chain.submit()
    chain.settle()
    answer = chain.apply(image="fate.test/image-pull")
    first = chain.revisions()[0]
    first.manifest["spec"]["template"]["spec"]["containers"][0]["image"] = "fate.test/image-pull:rotten"
    with chain.store.begin() as work:
        set_columns(work, "deployments", first.id, manifest=first.manifest)
    chain.follow(answer)
    chain.workload_is(Phase.FAILED)
    assert [d.status for d in chain.revisions()] == ["superseded", "superseded", "unhealthy"]
    assert chain.plan().decision.verb == "rollback"


def test_a_rollback_restores_what_sentinel_owns_and_touches_nothing_else(chain: Chain) -> None:
    chain.submit(env={"A": "1"}, labels={"tier": "gold"}, replicas=1)
    chain.settle()
    path = chain.site.path("Deployment", "web")
    theirs = {
        "metadata": {"annotations": {"theirs": "kept"}, "labels": {"theirs": "kept"}},
        "spec": {"minReadySeconds": 0, "paused": False, "template": {"spec": {"terminationGracePeriodSeconds": 5}}},
    }
    chain.site.someone.patch(path, theirs)
    before = chain.site.object()
    chain.submit(image=NEVER, env={"A": "2", "B": "3"}, labels={}, replicas=2)
    chain.site.someone.patch(path, {"spec": {"replicas": 5}})  # theirs from now on, and nothing that breaks pods
    chain.pass_time(601)
    chain.workload_is(Phase.ROLLED_BACK)
    after = chain.site.object()
    assert after["spec"] == {**before["spec"], "replicas": 5}
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert after["metadata"]["annotations"]["theirs"] == "kept"


def test_a_job_that_completes_returns_its_gpus(chain: Chain) -> None:
    chain.submit(type="training", replicas=2)
    assert chain.gpus() == 2
    assert chain.workload_is(Phase.COMPLETED).reason == ""
    assert chain.reserved() == {}
    assert chain.told_types()[-1] == "deployment.healthy"


def test_a_job_that_fails_returns_its_gpus_and_can_be_removed(chain: Chain) -> None:
    chain.submit(type="training", image="fate.test/fail")
    assert "JobFailed" in chain.workload_is(Phase.FAILED).reason
    assert chain.reserved() == {}
    chain.withdraw()
    chain.workload_is(Phase.REMOVED)
    assert chain.site.objects("Job") == []


def test_a_job_that_cannot_start_keeps_its_gpus(chain: Chain) -> None:
    chain.submit(type="training", image="fate.test/image-pull")
    chain.workload_is(Phase.FAILED)
    assert chain.gpus() == 1


def test_what_no_node_can_take_says_so_at_its_deadline(chain: Chain) -> None:
    chain.submit(resources={"cpu": "1", "memory": "1Gi", "gpu": {"count": 9, "sku": "L4"}})
    chain.tick()
    assert chain.workload().phase is Phase.VERIFYING
    chain.pass_time(601)
    workload = chain.workload_is(Phase.FAILED)
    assert "Unschedulable" in workload.reason
    assert "nodes are available" in workload.reason


def test_a_missing_object_is_restored(chain: Chain) -> None:
    chain.submit(replicas=2)
    chain.settle()
    spec = chain.site.object()["spec"]
    chain.site.someone.delete(chain.site.path("Deployment", "web"))
    chain.sweep()
    assert chain.workload_is(Phase.ROLLED_BACK).revision == 2
    assert chain.site.object()["spec"] == spec
    assert chain.gpus() == 2


def test_a_missing_object_under_verification_is_restored(chain: Chain) -> None:
    answer = chain.apply()
    chain.site.someone.delete(chain.site.path("Deployment", "web"))
    chain.follow(answer)
    chain.workload_is(Phase.ROLLED_BACK)
    assert len(chain.site.objects("Deployment")) == 1


def test_a_missing_job_has_failed_and_holds_nothing(chain: Chain) -> None:
    chain.submit(type="training", image=NEVER)
    chain.site.someone.delete(chain.site.path("Job", "web-r1"))
    chain.tick()
    assert "is not on cluster local" in chain.workload_is(Phase.FAILED).reason
    assert chain.reserved() == {}
    assert chain.site.objects("Job") == []


def test_a_name_that_somebody_took_over_does_not_hold_a_removal_up(chain: Chain) -> None:
    """Two teams may use one namespace; when one leaves, the other may have its object's name at once."""
    chain.submit()
    chain.settle()
    chain.forward(chain.until_removal_approved())
    chain.run([chain.submitted(team="others")])
    assert len(chain.site.objects("Deployment")) == 1
    chain.workload_is(Phase.REMOVED)
    assert chain.reserved() == {}
    assert chain.settle(team="others").phase is Phase.HEALTHY


def degrade(chain: Chain, name: str = "web") -> None:
    """Somebody breaks the image and allows the rollout to take the only replica away."""
    patch_image(chain, NEVER, name)


def repair(chain: Chain) -> None:
    patch_image(chain, "fate.test/ready")
    all_ready(chain)


def patch_image(chain: Chain, image: str, name: str = "web") -> None:
    container = chain.site.object(name)["spec"]["template"]["spec"]["containers"][0] | {"image": image}
    strategy = {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    spec = {"strategy": strategy, "template": {"spec": {"containers": [container]}}}
    chain.site.someone.patch(chain.site.path("Deployment", name), {"spec": spec})


def none_ready(chain: Chain) -> None:
    chain.until_seen(chain.site.object, lambda live: not live.get("status", {}).get("availableReplicas"))


def test_a_settled_revision_is_degraded_after_two_looks_and_healthy_again_after_its_bake(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    degrade(chain)
    none_ready(chain)
    look(chain)
    assert chain.workload().phase is Phase.HEALTHY
    look(chain, seconds=3)
    assert chain.workload().phase is Phase.HEALTHY
    look(chain)
    assert chain.workload().phase is Phase.DEGRADED
    assert chain.told_types()[-1] == "deployment.unhealthy"
    look(chain)
    assert chain.told_types().count("deployment.unhealthy") == 1
    repair(chain)
    chain.until(lambda: look(chain), lambda phase: phase is Phase.HEALTHY)
    assert chain.told_types()[-1] == "deployment.healthy"


def test_a_restored_revision_that_recovers_is_rolled_back_still(chain: Chain) -> None:
    """Its workload asks for something else than what runs, and must not look as if it had that."""
    chain.submit()
    chain.settle()
    chain.submit(image="fate.test/image-pull")
    chain.workload_is(Phase.ROLLED_BACK)
    degrade(chain)
    chain.until(lambda: look(chain), lambda phase: phase is Phase.DEGRADED)
    repair(chain)
    chain.until(lambda: look(chain), lambda phase: phase is not Phase.DEGRADED)
    assert chain.workload().phase is Phase.ROLLED_BACK


def evict(chain: Chain) -> str:
    """The only pod is evicted after it had run out of memory; its ReplicaSet replaces it, and it stays behind."""
    pod = chain.site.objects("Pod")[0]
    container = pod["status"]["containerStatuses"][0] | {
        "ready": False,
        "restartCount": 5,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
    }
    path = f"/api/v1/namespaces/{chain.site.namespace}/pods/{pod['metadata']['name']}"
    status = {"phase": "Failed", "reason": "Evicted", "conditions": [], "containerStatuses": [container]}
    chain.site.someone.patch(f"{path}/status", {"status": status})
    chain.until_seen(lambda: chain.site.objects("Pod"), lambda pods: len(pods) == 2)
    all_ready(chain)
    return path


@pytest.mark.slow
def test_an_evicted_pod_does_not_roll_a_healthy_workload_back_at_its_next_scale_up(chain: Chain) -> None:
    chain.submit(image="fate.test/slow")
    chain.settle()
    evicted = evict(chain)
    chain.submit(image="fate.test/slow", replicas=2)
    assert chain.settle().phase is Phase.HEALTHY
    assert [d.status for d in chain.revisions()] == ["superseded", "healthy"]
    assert chain.site.someone.get(evicted)["status"]["phase"] == "Failed"


def test_a_registry_that_is_away_for_a_moment_rolls_nothing_back(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    chain.submit(image="fate.test/never-ready")
    pods = f"/api/v1/namespaces/{chain.site.namespace}/pods"

    def newest() -> list[dict[str, Any]]:
        return [pod for pod in chain.site.objects("Pod") if pod["spec"]["containers"][0]["image"] == NEVER]

    chain.until_seen(newest, lambda pods: len(pods) == 1 and "containerStatuses" in pods[0].get("status", {}))
    pod = newest()[0]
    waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "fate.test/never-ready"'}
    container = pod["status"]["containerStatuses"][0] | {"ready": False, "state": {"waiting": waiting}}
    chain.site.someone.patch(f"{pods}/{pod['metadata']['name']}/status", {"status": {"containerStatuses": [container]}})
    chain.tick()
    assert chain.workload().phase is Phase.VERIFYING
    assert "ImagePullBackOff" in chain.workload().reason
    chain.pass_time(61, applied_at=True)
    chain.workload_is(Phase.ROLLED_BACK)
    assert chain.revisions()[1].reason == "ImagePullBackOff"


def test_what_hinders_a_revision_is_said_before_its_deadline_and_forgotten_when_it_is_healthy(chain: Chain) -> None:
    chain.submit(resources={"cpu": "1", "memory": "1Gi", "gpu": {"count": 9, "sku": "L4"}})
    chain.until_seen(lambda: chain.site.objects("Pod"), lambda pods: "Unschedulable" in str(pods))
    chain.tick()
    workload = chain.workload()
    assert workload.phase is Phase.VERIFYING
    assert workload.reason.startswith("Unschedulable: pod web-")
    chain.submit()
    assert chain.settle().reason == ""


STRIPPED = {"metadata": {"labels": None, "annotations": None}}


@pytest.mark.parametrize("kind", ["inference", "stateful"])
def test_an_edit_of_a_workload_whose_labels_somebody_stripped_is_applied(chain: Chain, kind: str) -> None:
    chain.submit(type=kind)
    chain.settle()
    name = "Deployment" if kind == "inference" else "StatefulSet"
    chain.site.someone.patch(chain.site.path(name, "web"), STRIPPED)
    chain.submit(type=kind, replicas=2)
    assert chain.settle().phase is Phase.HEALTHY
    live = chain.site.object(kind=name)["metadata"]
    assert live["labels"][INSTANCE_LABEL] == str(chain.id())
    assert live["labels"]["app.kubernetes.io/managed-by"] == "sentinel"


def test_the_sweep_restores_labels_that_somebody_stripped(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    before = chain.site.object()
    chain.site.someone.patch(chain.site.path("Deployment", "web"), STRIPPED)
    chain.sweep()
    after = chain.site.object()
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert (
        after["metadata"]["annotations"].items()
        >= {
            key: text for key, text in before["metadata"]["annotations"].items() if key.startswith("sentinel.dev/")
        }.items()
    )
    assert after["spec"] == before["spec"]
    assert chain.workload().phase is Phase.HEALTHY
    assert chain.actions().count("deployment.labels_restored") == 1
    chain.sweep()
    assert chain.actions().count("deployment.labels_restored") == 1
    assert "deployment.unhealthy" not in chain.told_types()


def test_a_workload_whose_labels_somebody_stripped_is_removed(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    chain.site.someone.patch(chain.site.path("Deployment", "web"), STRIPPED)
    chain.withdraw()
    chain.workload_is(Phase.REMOVED)
    assert chain.site.objects("Deployment") == []


@pytest.mark.slow
def test_a_restart_by_kubectl_makes_nothing_unhealthy(chain: Chain) -> None:
    chain.submit(image="fate.test/slow", replicas=2)
    chain.settle()
    at = {"kubectl.kubernetes.io/restartedAt": "2026-03-01T12:00:00Z"}
    restart = {"spec": {"template": {"metadata": {"annotations": at}}}}
    generation = chain.site.someone.patch(chain.site.path("Deployment", "web"), restart)["metadata"]["generation"]

    def rolled_out() -> bool:
        live = chain.site.object()["status"]
        look(chain)
        return bool(live["observedGeneration"] == generation and live["updatedReplicas"] == live["replicas"] == 2)

    chain.until_seen(rolled_out, bool)
    assert chain.workload().phase is Phase.HEALTHY
    assert "deployment.unhealthy" not in chain.told_types()


@pytest.mark.slow
def test_an_autoscalers_scale_up_makes_nothing_unhealthy(chain: Chain) -> None:
    chain.submit(image="fate.test/slow")
    chain.settle()
    chain.site.someone.patch(f"{chain.site.path('Deployment', 'web')}/scale", {"spec": {"replicas": 3}})
    for _ in range(3):
        look(chain)
    assert (chain.site.object()["status"].get("availableReplicas"), chain.workload().phase) == (1, Phase.HEALTHY)
    assert "deployment.unhealthy" not in chain.told_types()


def test_what_is_in_doubt_or_degraded_is_observed_with_every_tick(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    degrade(chain)
    none_ready(chain)
    look(chain)  # in doubt
    chain.tick()  # within seconds, not within the minute of what is healthy
    chain.pass_time(3, observed_at=True)
    chain.tick()
    assert chain.workload().phase is Phase.DEGRADED
    repair(chain)
    chain.tick()
    assert chain.workload().phase is Phase.HEALTHY


def look(chain: Chain, seconds: float = 6) -> Phase:
    """A breach makes verification look at the workload, some seconds after the last look."""
    chain.pass_time(seconds, observed_at=True)
    data = {"workload": str(chain.id()), "objective": "latency"}
    chain.run([request(BREACHED, data, subject=str(chain.id()))])
    return chain.workload().phase


def test_a_job_holds_no_more_than_itself_once_the_one_before_it_is_gone(chain: Chain) -> None:
    chain.submit(type="training", image=NEVER, replicas=2)
    chain.until_seen(lambda: chain.site.objects("Pod"), lambda pods: len(pods) == 2)
    applied = chain.apply(type="training", image=f"{NEVER}:2")
    assert chain.gpus() == 3
    chain.until_seen(lambda: chain.site.objects("Pod"), lambda pods: len(pods) == 1)
    chain.follow(applied)
    assert chain.gpus() == 1
    assert chain.workload().phase is Phase.VERIFYING


def test_a_job_holds_what_the_one_before_it_took_while_its_pods_are_there(chain: Chain) -> None:
    chain.submit(type="training", image=NEVER, replicas=2)
    chain.until_seen(lambda: chain.site.objects("Pod"), lambda pods: len(pods) == 2)
    applied = chain.apply(type="training", image=f"{NEVER}:2")
    pods = f"/api/v1/namespaces/{chain.site.namespace}/pods"
    lingering = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "lingering", "labels": {INSTANCE_LABEL: str(chain.id())}},
        "spec": {"containers": [{"name": "main", "image": NEVER}]},
    }
    chain.site.someone.create(pods, lingering)
    chain.follow(applied)
    chain.tick()
    assert chain.gpus() == 3
    chain.site.someone.delete(f"{pods}/lingering")
    chain.until(chain.gpus, lambda gpus: gpus == 1)
