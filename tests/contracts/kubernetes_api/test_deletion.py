"""Deletion: propagation, preconditions, finalizers, namespaces, collections."""

from collections.abc import Callable
from typing import Any

from tests.contracts.kubernetes_api.api import Api, Home, Object, config_map, deployment, job, pod, stateful_set


def _gone(obj: Object | None) -> bool:
    return obj is None


def _ready(count: int) -> Callable[[Object | None], Any]:
    return lambda obj: obj if obj is not None and obj["status"].get("readyReplicas", 0) == count else None


def _rolled_out(home: Home) -> tuple[str, str]:
    """A ready Deployment `web`; the names of its ReplicaSet and pod."""
    home.create("deployments", deployment("web"))
    home.wait_for("deployments", "web", _ready(1))
    replica_set = home.api("GET", home.path("replicasets"), labelSelector="app=web").body["items"][0]
    return replica_set["metadata"]["name"], home.pods("app=web")[0]["metadata"]["name"]


def test_background_deletion_takes_replica_sets_and_pods_along(home: Home) -> None:
    replica_set, pod_name = _rolled_out(home)
    answer = home.delete("deployments", "web", propagationPolicy="Background")
    assert (answer.code, answer.body["kind"], answer.body["status"]) == (200, "Status", "Success")
    assert answer.body["details"]["name"] == "web"
    assert home.get("deployments", "web").code == 404
    home.wait_for("replicasets", replica_set, _gone)
    home.wait_for("pods", pod_name, _gone)


def test_without_a_policy_a_deployment_takes_its_pods_along(home: Home) -> None:
    replica_set, pod_name = _rolled_out(home)
    assert home.delete("deployments", "web").code == 200
    home.wait_for("replicasets", replica_set, _gone)
    home.wait_for("pods", pod_name, _gone)


def test_foreground_deletion_keeps_the_owner_until_its_dependents_are_gone(home: Home) -> None:
    replica_set, pod_name = _rolled_out(home)
    answer = home.delete("deployments", "web", propagationPolicy="Foreground")
    metadata = answer.body["metadata"]
    assert (answer.code, answer.body["kind"]) == (200, "Deployment")
    assert metadata["finalizers"] == ["foregroundDeletion"]
    assert metadata["deletionTimestamp"]
    assert metadata["generation"] == 2
    home.wait_for("deployments", "web", _gone)
    assert home.get("replicasets", replica_set).code == 404
    home.wait_for("pods", pod_name, _gone)


def test_orphaned_dependents_live_on_without_an_owner(home: Home) -> None:
    replica_set, pod_name = _rolled_out(home)
    assert home.delete("deployments", "web", propagationPolicy="Orphan").code == 200
    home.wait_for("deployments", "web", _gone)
    orphan = home.get("replicasets", replica_set).body
    assert "ownerReferences" not in orphan["metadata"]
    assert home.get("pods", pod_name).code == 200


def test_without_a_policy_a_job_leaves_its_pods_behind_and_says_so(home: Home) -> None:
    home.create("jobs", job("batch", "fate.test/never-ready"))
    home.wait_for("jobs", "batch", lambda obj: obj is not None and obj["status"].get("active"))
    answer = home.delete("jobs", "batch")
    assert answer.code == 200
    assert answer.warning.startswith('299 - "child pods are preserved by default when jobs are deleted')
    home.wait_for("jobs", "batch", _gone)
    assert len(home.pods("job-name=batch")) == 1


def test_a_job_deleted_in_the_background_takes_its_pods_along(home: Home) -> None:
    home.create("jobs", job("batch", "fate.test/never-ready"))
    home.wait_for("jobs", "batch", lambda obj: obj is not None and obj["status"].get("active"))
    name = home.pods("job-name=batch")[0]["metadata"]["name"]
    assert home.delete("jobs", "batch", propagationPolicy="Background").code == 200
    home.wait_for("pods", name, _gone)


def test_a_stateful_set_takes_its_pods_along(home: Home) -> None:
    home.create("statefulsets", stateful_set("db", 1))
    home.wait_for("statefulsets", "db", _ready(1))
    home.delete("statefulsets", "db", propagationPolicy="Foreground")
    home.wait_for("statefulsets", "db", _gone)
    home.wait_for("pods", "db-0", _gone)


def test_preconditions_are_checked(home: Home) -> None:
    created = home.create("deployments", deployment("web", replicas=0)).body["metadata"]
    for precondition in ({"uid": "x"}, {"resourceVersion": "1"}):
        answer = home.delete("deployments", "web", preconditions=precondition)
        assert (answer.code, answer.reason) == (409, "Conflict")
        assert "in the precondition" in answer.message
    assert home.delete("deployments", "web", preconditions={"uid": created["uid"]}).code == 200


def test_an_unknown_policy_is_refused(home: Home) -> None:
    home.create("configmaps", config_map("one"))
    answer = home.delete("configmaps", "one", propagationPolicy="x")
    assert (answer.code, answer.causes) == (422, [("FieldValueNotSupported", "propagationPolicy")])


def test_a_finalizer_keeps_an_object_until_it_is_removed(home: Home) -> None:
    body = config_map("one")
    body["metadata"]["finalizers"] = ["sentinel.dev/hold"]
    home.create("configmaps", body)
    kept = home.delete("configmaps", "one").body
    assert kept["metadata"]["deletionTimestamp"]
    assert home.get("configmaps", "one").code == 200
    added = home.merge("configmaps", "one", {"metadata": {"finalizers": ["sentinel.dev/hold", "sentinel.dev/more"]}})
    assert (added.code, added.causes) == (422, [("FieldValueForbidden", "metadata.finalizers")])
    assert home.merge("configmaps", "one", {"metadata": {"finalizers": None}}).code == 200
    assert home.get("configmaps", "one").code == 404


def test_a_dry_run_deletes_nothing(home: Home) -> None:
    home.create("configmaps", config_map("one"))
    assert home.api("DELETE", home.path("configmaps", "one"), dryRun="All").code == 200
    assert home.get("configmaps", "one").code == 200


def test_a_running_pod_is_given_its_grace_and_then_goes(home: Home) -> None:
    home.create("pods", pod("one"))
    home.wait_for("pods", "one", lambda obj: obj is not None and obj["status"].get("phase") == "Running")
    answer = home.delete("pods", "one")
    assert (answer.code, answer.body["kind"]) == (200, "Pod")
    assert answer.body["metadata"]["deletionGracePeriodSeconds"] == 30
    home.wait_for("pods", "one", _gone)


def test_a_pod_of_a_replica_set_is_made_again(home: Home) -> None:
    _, pod_name = _rolled_out(home)
    home.delete("pods", pod_name)
    home.wait_for("pods", pod_name, _gone)
    home.wait_for("deployments", "web", _ready(1))
    assert [item["metadata"]["name"] for item in home.pods("app=web")] != [pod_name]


def test_the_namespaces_of_every_cluster_cannot_be_deleted(api: Api) -> None:
    for name in ("default", "kube-system", "kube-public"):
        answer = api("DELETE", f"/api/v1/namespaces/{name}")
        assert (answer.code, answer.reason) == (403, "Forbidden"), name


def test_a_namespace_goes_with_all_that_is_in_it(home: Home) -> None:
    home.create("deployments", deployment("web"))
    home.create("configmaps", config_map("one"))
    body = config_map("held")
    body["metadata"]["finalizers"] = ["sentinel.dev/hold"]
    home.create("configmaps", body)
    home.wait_for("deployments", "web", _ready(1))
    answer = home.api("DELETE", f"/api/v1/namespaces/{home.namespace}")
    assert answer.body["status"]["phase"] == "Terminating"
    late = home.create("configmaps", config_map("late"))
    assert (late.code, late.reason) == (403, "Forbidden")
    assert late.causes == [("NamespaceTerminating", "metadata.namespace")]
    home.wait_for("configmaps", "one", _gone)
    home.merge("configmaps", "held", {"metadata": {"finalizers": None}})
    home.api.wait_for("/api/v1/namespaces", home.namespace, _gone)
    assert home.get("deployments", "web").code == 404
