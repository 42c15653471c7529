"""What the controllers make of workloads: rollouts, fates, schedules, Jobs."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.contracts.kubernetes_api.api import STRATEGIC, Home, Object, container, deployment, job, pod, stateful_set

pytestmark = pytest.mark.slow


def _condition(obj: Object, type_: str) -> Object:
    found: Object = next((c for c in obj["status"].get("conditions", []) if c["type"] == type_), {})
    return found


def _when(holds: Callable[[Object], Any]) -> Callable[[Object | None], Any]:
    return lambda obj: obj if obj is not None and holds(obj) else None


def _complete(replicas: int) -> Callable[[Object | None], Any]:
    """A Deployment whose rollout of the present generation is over."""
    return _when(
        lambda obj: (
            obj["status"].get("observedGeneration") == obj["metadata"]["generation"]
            and obj["status"].get("updatedReplicas", 0) == replicas
            and obj["status"].get("availableReplicas", 0) == replicas
            and obj["status"].get("replicas", 0) == replicas
        )
    )


def _waiting(reason: str) -> Callable[[Object | None], Any]:
    return _when(
        lambda obj: any(
            (status["state"].get("waiting") or {}).get("reason") == reason
            for status in obj["status"].get("containerStatuses", [])
        )
    )


def _pod_of(home: Home, name: str) -> str:
    """The name of the one pod of a workload, once there is one."""
    home.wait_for("deployments", name, _when(lambda obj: obj["status"].get("replicas")))
    found: str = home.pods(f"app={name}")[0]["metadata"]["name"]
    return found


def test_a_deployment_becomes_available_and_says_so(home: Home) -> None:
    home.create("deployments", deployment("web", replicas=2))
    status = home.wait_for("deployments", "web", _complete(2))["status"]
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"]) == (2, 2, 2)
    assert "unavailableReplicas" not in status
    done = home.wait_for(
        "deployments", "web", _when(lambda o: _condition(o, "Progressing").get("reason") == "NewReplicaSetAvailable")
    )
    assert _condition(done, "Available")["status"] == "True"
    assert _condition(done, "Available")["reason"] == "MinimumReplicasAvailable"
    assert done["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    running = home.pods("app=web")[0]
    assert running["metadata"]["ownerReferences"][0]["kind"] == "ReplicaSet"
    assert running["metadata"]["labels"]["pod-template-hash"]
    assert _condition(running, "Ready")["status"] == "True"
    assert running["spec"]["nodeName"]


def test_a_new_image_makes_a_new_replica_set_and_empties_the_old_one(home: Home) -> None:
    home.apply("deployments", deployment("web", replicas=2))
    home.wait_for("deployments", "web", _complete(2))
    home.apply("deployments", deployment("web", "fate.test/ready:2", 2))
    home.wait_for("deployments", "web", _complete(2))
    sets = home.api("GET", home.path("replicasets"), labelSelector="app=web").body["items"]
    assert {(container(s)["image"], s["spec"]["replicas"]) for s in sets} == {
        ("fate.test/ready", 0),
        ("fate.test/ready:2", 2),
    }
    revisions = sorted(s["metadata"]["annotations"]["deployment.kubernetes.io/revision"] for s in sets)
    assert revisions == ["1", "2"]
    live = [item for item in home.pods("app=web") if "deletionTimestamp" not in item["metadata"]]
    assert {item["spec"]["containers"][0]["image"] for item in live} == {"fate.test/ready:2"}


def test_an_old_image_takes_its_old_replica_set_again(home: Home) -> None:
    for image in ("fate.test/ready", "fate.test/ready:2", "fate.test/ready"):
        home.apply("deployments", deployment("web", image))
        home.wait_for("deployments", "web", _complete(1))
    sets = home.api("GET", home.path("replicasets"), labelSelector="app=web").body["items"]
    assert len(sets) == 2
    current = next(s for s in sets if s["spec"]["replicas"])
    assert current["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"


def test_a_new_image_that_never_becomes_ready_leaves_the_old_pods_alone(home: Home) -> None:
    home.apply("deployments", deployment("web", replicas=2, progressDeadlineSeconds=1))
    home.wait_for("deployments", "web", _complete(2))
    home.apply("deployments", deployment("web", "fate.test/never-ready", 2, progressDeadlineSeconds=1))
    failed = home.wait_for(
        "deployments", "web", _when(lambda o: _condition(o, "Progressing").get("reason") == "ProgressDeadlineExceeded")
    )
    assert _condition(failed, "Progressing")["status"] == "False"
    assert "has timed out progressing" in _condition(failed, "Progressing")["message"]
    status = failed["status"]
    assert (status["replicas"], status["updatedReplicas"], status["availableReplicas"]) == (3, 1, 2)
    assert status["unavailableReplicas"] == 1
    assert _condition(failed, "Available")["status"] == "True"


def test_scaling_makes_and_removes_pods(home: Home) -> None:
    home.create("deployments", deployment("web"))
    home.wait_for("deployments", "web", _complete(1))
    home.merge("deployments", "web", {"spec": {"replicas": 4}})
    home.wait_for("deployments", "web", _complete(4))
    home.merge("deployments", "web", {"spec": {"replicas": 0}})
    home.wait_for("deployments", "web", _complete(0))
    sets = home.api("GET", home.path("replicasets"), labelSelector="app=web").body["items"]
    assert len(sets) == 1


def test_a_pod_that_never_becomes_ready_runs_unready(home: Home) -> None:
    home.create("deployments", deployment("web", "fate.test/never-ready"))
    name = _pod_of(home, "web")
    running = home.wait_for("pods", name, _when(lambda o: o["status"].get("phase") == "Running"))
    assert _condition(running, "Ready")["status"] == "False"
    assert running["status"]["containerStatuses"][0]["ready"] is False
    status = home.get("deployments", "web").body["status"]
    assert status["unavailableReplicas"] == 1
    assert "readyReplicas" not in status


@pytest.mark.parametrize(("fate", "code", "reason"), [("crash", 1, "Error"), ("oom", 137, "OOMKilled")])
def test_a_crashing_pod_backs_off_and_counts_its_restarts(home: Home, fate: str, code: int, reason: str) -> None:
    home.create("deployments", deployment("web", f"fate.test/{fate}"))
    name = _pod_of(home, "web")
    home.wait_for("pods", name, _waiting("CrashLoopBackOff"))
    again = home.wait_for(
        "pods", name, _when(lambda o: o["status"].get("containerStatuses", [{}])[0].get("restartCount", 0) >= 2)
    )
    ended = again["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (code, reason)
    assert again["status"]["phase"] == "Running"


def test_an_image_that_cannot_be_pulled_keeps_the_pod_pending(home: Home) -> None:
    home.create("deployments", deployment("web", "fate.test/image-pull"))
    stuck = home.wait_for("pods", _pod_of(home, "web"), _waiting("ImagePullBackOff"))
    assert stuck["status"]["phase"] == "Pending"


def test_a_pod_that_fits_nowhere_says_why_and_is_recorded(home: Home) -> None:
    body = pod("big")
    body["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "99"}}
    home.create("pods", body)
    waiting = home.wait_for("pods", "big", _when(lambda o: _condition(o, "PodScheduled").get("status") == "False"))
    condition = _condition(waiting, "PodScheduled")
    assert condition["reason"] == "Unschedulable"
    total = condition["message"].split()[0].removeprefix("0/")
    assert condition["message"].startswith(f"0/{total} nodes are available: ")
    assert f"{total} Insufficient nvidia.com/gpu" in condition["message"]
    assert waiting["status"]["phase"] == "Pending"
    assert home.get("pods", "big").body["spec"].get("nodeName") is None


def test_a_pod_for_nodes_that_do_not_exist_says_why(home: Home) -> None:
    terms = [{"matchExpressions": [{"key": "nvidia.com/gpu.product", "operator": "In", "values": ["none"]}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    home.create("pods", pod("choosy", affinity={"nodeAffinity": required}))
    waiting = home.wait_for("pods", "choosy", _when(lambda o: _condition(o, "PodScheduled").get("status") == "False"))
    assert "node(s) didn't match Pod's node affinity/selector" in _condition(waiting, "PodScheduled")["message"]


def test_a_stateful_set_makes_numbered_pods_and_replaces_them(home: Home) -> None:
    home.apply("statefulsets", stateful_set("db"))
    ready = _when(lambda o: o["status"].get("readyReplicas") == 2)
    home.wait_for("statefulsets", "db", ready)
    names = sorted(item["metadata"]["name"] for item in home.pods("app=db"))
    assert names == ["db-0", "db-1"]
    assert home.pods("statefulset.kubernetes.io/pod-name=db-1")[0]["spec"]["hostname"] == "db-1"
    home.apply("statefulsets", stateful_set("db", image="fate.test/ready:2"))
    done = home.wait_for(
        "statefulsets",
        "db",
        _when(
            lambda o: (
                o["status"].get("observedGeneration") == 2
                and o["status"].get("updatedReplicas") == 2
                and o["status"].get("readyReplicas") == 2
            )
        ),
    )
    assert done["status"]["updateRevision"] == done["status"]["currentRevision"]
    assert {item["spec"]["containers"][0]["image"] for item in home.pods("app=db")} == {"fate.test/ready:2"}


def test_a_job_completes(home: Home) -> None:
    home.create("jobs", job("batch"))
    done = home.wait_for("jobs", "batch", _when(lambda o: _condition(o, "Complete").get("status") == "True"))
    assert (done["status"]["succeeded"], done["status"].get("active", 0)) == (1, 0)
    assert done["status"]["completionTime"]
    assert _condition(done, "Complete")["reason"] == "CompletionsReached"
    assert home.pods("job-name=batch")[0]["status"]["phase"] == "Succeeded"


def test_a_job_whose_pod_fails_beyond_its_limit_has_failed(home: Home) -> None:
    home.create("jobs", job("batch", "fate.test/fail", backoffLimit=0))
    failed = home.wait_for("jobs", "batch", _when(lambda o: _condition(o, "Failed").get("status") == "True"))
    assert failed["status"]["failed"] == 1
    assert _condition(failed, "Failed")["reason"] == "BackoffLimitExceeded"


def test_a_suspended_job_makes_no_pods(home: Home) -> None:
    home.create("jobs", job("batch", suspend=True))
    home.wait_for("jobs", "batch", _when(lambda o: _condition(o, "Suspended").get("status") == "True"))
    assert home.pods("job-name=batch") == []
    home.merge("jobs", "batch", {"spec": {"suspend": False}})
    home.wait_for("jobs", "batch", _when(lambda o: _condition(o, "Complete").get("status") == "True"))


def test_parallel_completions_are_counted(home: Home) -> None:
    home.create("jobs", job("batch", completions=3, parallelism=2))
    done = home.wait_for("jobs", "batch", _when(lambda o: _condition(o, "Complete").get("status") == "True"))
    assert done["status"]["succeeded"] == 3


def test_a_condition_of_somebody_else_stays_and_hinders_nothing(home: Home) -> None:
    home.create("deployments", deployment("web", replicas=0))
    home.wait_for("deployments", "web", _complete(0))
    theirs = {"status": {"conditions": [{"type": "Audited", "status": "True"}]}}
    assert home.api("PATCH", home.path("deployments", "web", "status"), theirs, STRATEGIC).code == 200
    home.merge("deployments", "web", {"spec": {"replicas": 1}})
    after = home.wait_for("deployments", "web", _complete(1))
    assert "Audited" in {condition["type"] for condition in after["status"]["conditions"]}


def test_pods_of_an_indexed_job_are_named_by_index(home: Home) -> None:
    refused = home.create("jobs", job("sum", parallelism=2, completionMode="Indexed"))
    assert (refused.code, refused.causes) == (422, [("FieldValueRequired", "spec.completions")])
    home.create("jobs", job("sum", completions=2, parallelism=2, completionMode="Indexed"))
    home.wait_for("jobs", "sum", _when(lambda o: o["status"].get("succeeded") == 2))
    made = home.pods("job-name=sum")
    assert sorted(item["metadata"]["generateName"] for item in made) == ["sum-0-", "sum-1-"]
