"""The driver on answers that a healthy cluster seldom gives. The rest is in tests/contracts/cluster_driver."""

from typing import Any

import pytest

from shared.clusters.driver import ObservedObject
from shared.errors import ClusterRefused, ClusterUnavailable
from shared.models.deployment import ObjectReference
from tests.support.api_servers import ScriptedServer, status

WEB = ObjectReference("Deployment", "search", "web")
OURS = {"app.kubernetes.io/managed-by": "sentinel", "app.kubernetes.io/instance": "w"}
WISH: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "search", "labels": OURS, "annotations": {"sentinel.dev/revision": "2"}},
    "spec": {"replicas": 1},
}
LIVE: dict[str, Any] = {
    **WISH,
    "metadata": {**WISH["metadata"], "uid": "u", "resourceVersion": "7", "generation": 3},
}
ABSENT = status(404, kind="deployments", name="web")
NO_NAMESPACE = status(404, kind="namespaces", name="search")


def test_an_apply_names_what_it_read(server: ScriptedServer) -> None:
    server.will(200, LIVE).will(200, LIVE)
    applied = server.driver().apply(WISH)
    assert (applied.uid, applied.resource_version, applied.generation) == ("u", "7", 3)
    sent = server.asked[1]
    assert sent.body["metadata"] == {**WISH["metadata"], "uid": "u", "resourceVersion": "7"}
    assert sent.path.endswith("?fieldManager=sentinel&fieldValidation=Strict&force=false")
    assert "uid" not in WISH["metadata"]


def conflict(field: str) -> dict[str, Any]:
    message = 'conflict with "kubectl-edit" using apps/v1'
    return status(409, "conflict", causes=[{"reason": "FieldManagerConflict", "field": field, "message": message}])


def test_an_apply_forces_only_what_was_read_before_the_conflict(server: ScriptedServer) -> None:
    """What changes between the conflict and the force is read again, and judged anew."""
    image = '.spec.template.spec.containers[name="main"].image'
    stale = status(409, "the object has been modified")
    server.will(200, LIVE).will(409, conflict(image)).will(409, stale).will(200, LIVE).will(200, LIVE)
    applied = server.driver().apply(WISH, failure="ImagePullBackOff")
    assert [one.path.rpartition("force=")[2] for one in server.asked if one.method == "PATCH"] == [
        "false",
        "true",
        "false",
    ]
    assert server.asked[2].body["metadata"]["resourceVersion"] == "7"
    assert applied.taken == applied.left == ()


def test_a_first_apply_never_forces(server: ScriptedServer) -> None:
    server.will(404, ABSENT).will(201, LIVE)
    server.driver().apply(WISH, failure="ImagePullBackOff")
    assert server.asked[1].path.endswith("force=false")


def test_a_namespace_that_may_not_be_made_is_refused_with_the_servers_words(server: ScriptedServer) -> None:
    server.will(404, ABSENT).will(404, NO_NAMESPACE).will(403, status(403, "may not create")).will(404, NO_NAMESPACE)
    with pytest.raises(ClusterRefused, match="POST /api/v1/namespaces: 403 may not create"):
        server.driver().apply(WISH)


def test_a_namespace_that_somebody_else_has_made_will_do(server: ScriptedServer) -> None:
    server.will(403, status(403, "may not create")).will(200, {"kind": "Namespace"})
    server.driver().ensure_namespace("search")


def test_a_namespace_that_is_going_is_waited_for(server: ScriptedServer) -> None:
    going = status(403, "forbidden", causes=[{"reason": "NamespaceTerminating", "message": "is being terminated"}])
    server.will(404, ABSENT).will(403, going)
    with pytest.raises(ClusterUnavailable, match="is being terminated"):
        server.driver().apply(WISH)


def test_a_load_balancers_404_is_not_the_end_of_a_workload(server: ScriptedServer) -> None:
    server.will(404, b"<html>not found</html>")
    with pytest.raises(ClusterUnavailable, match="404 without a JSON object"):
        server.driver().observe(WEB, "w")
    with pytest.raises(ClusterUnavailable, match="404 without a JSON object"):
        server.driver().delete(WEB, "w")


def test_a_throttled_delete_is_tried_later(server: ScriptedServer) -> None:
    server.will(200, LIVE).will(429, status(429, "too many requests"))
    with pytest.raises(ClusterUnavailable, match="429 too many requests"):
        server.driver().delete(WEB, "w")


def test_a_delete_carries_its_propagation_and_what_was_read(server: ScriptedServer) -> None:
    server.will(200, LIVE).will(200, status(200))
    assert server.driver().delete(WEB, "w", "Foreground")
    assert server.asked[1].body == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Foreground",
        "preconditions": {"uid": "u", "resourceVersion": "7"},
    }


def test_a_delete_of_what_is_replaced_again_and_again_is_tried_later(server: ScriptedServer) -> None:
    for _ in range(5):
        server.will(200, LIVE).will(409, status(409, "uid"))
    with pytest.raises(ClusterUnavailable, match="keeps changing; 5 tries"):
        server.driver().delete(WEB, "w")


def test_an_object_that_nobody_manages_is_said_to_be_so(server: ScriptedServer) -> None:
    server.will(200, {**LIVE, "metadata": {"name": "web"}})
    with pytest.raises(ClusterRefused, match="exists and is not managed by Sentinel"):
        server.driver().delete(WEB, "w")


def test_pods_come_in_pages(server: ScriptedServer) -> None:
    labels = {"app.kubernetes.io/instance": "w"}
    pods = [{"metadata": {"name": name, "namespace": "search", "labels": labels}} for name in "abc"]
    server.will(404, ABSENT)
    server.will(200, {"metadata": {"continue": "next"}, "items": pods[:2]}).will(200, {"items": pods[2:]})
    observation = server.driver().observe(WEB, "w")
    assert (observation.object, list(observation.pods)) == (None, pods)
    path = "/api/v1/namespaces/search/pods?limit=500&labelSelector=app.kubernetes.io/instance%20in%20%28w%29"
    assert [asked.path for asked in server.asked[1:]] == [path, f"{path}&continue=next"]


def test_an_expired_page_is_read_again_later(server: ScriptedServer) -> None:
    server.will(404, ABSENT).will(410, status(410, "the provided continue parameter is too old"))
    with pytest.raises(ClusterUnavailable, match="410"):
        server.driver().observe(WEB, "w")


def test_pods_and_replica_sets_are_read_only_while_a_rollout_is_unfinished(server: ScriptedServer) -> None:
    counts = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
    settled = {**LIVE, "status": {"observedGeneration": 3, **counts}}
    server.will(200, settled)
    server.driver().observe(WEB, "w")
    assert len(server.asked) == 1
    server.will(200, {**LIVE, "status": {"observedGeneration": 3, **counts, "readyReplicas": 0}})
    server.will(200, {"items": []}).will(200, {"items": []})
    server.driver().observe(WEB, "w")
    assert [asked.path.partition("?")[0].rsplit("/", 1)[1] for asked in server.asked[2:]] == ["pods", "replicasets"]


def node(product: str | None, gpus: str | None, *, cordoned: bool = False) -> dict[str, Any]:
    labels = {} if product is None else {"nvidia.com/gpu.product": product}
    allocatable = {"cpu": "8"} if gpus is None else {"cpu": "8", "nvidia.com/gpu": gpus}
    spec = {"unschedulable": True} if cordoned else {}
    return {"metadata": {"name": "n", "labels": labels}, "spec": spec, "status": {"allocatable": allocatable}}


def test_gpus_are_those_of_nodes_that_take_pods(server: ScriptedServer) -> None:
    nodes = [
        node("NVIDIA-H100-80GB-HBM3", "8"),
        node("NVIDIA-H100-80GB-HBM3", "6"),
        node("NVIDIA-L4", "4"),
        node("NVIDIA-L4", "4", cordoned=True),
        node("NVIDIA-A10", "0"),
        node("NVIDIA-A10", None),
        node(None, "2"),
    ]
    server.will(200, {"items": nodes})
    assert server.driver().gpus() == {"H100": 14, "L4": 4}


def test_the_gpu_nodes_keep_the_case_of_their_products(server: ScriptedServer) -> None:
    nodes = [node("Tesla-P4", "8"), node("NVIDIA-L4-SHARED", "40", cordoned=True), node("Tesla-P4", None)]
    server.will(200, {"items": nodes})
    found = server.driver().gpu_nodes()
    assert [(one.product, one.gpus) for one in found] == [("Tesla-P4", 8), ("NVIDIA-L4-SHARED", 40), ("Tesla-P4", 0)]
    assert "labelSelector=nvidia.com/gpu.product" in server.asked[0].path


def stateful(**status: Any) -> dict[str, Any]:
    return {**LIVE, "kind": "StatefulSet", "spec": {"replicas": 2}, "status": {"observedGeneration": 3, **status}}


SET = ObjectReference("StatefulSet", "search", "web")


def test_the_events_of_an_object_that_lacks_pods_are_read_by_its_uid_in_one_page(
    server: ScriptedServer,
) -> None:
    refusal = {"reason": "FailedCreate", "message": "exceeded quota"}
    server.will(200, stateful()).will(200, {"items": []}).will(200, {"items": [refusal]})
    assert server.driver().observe(SET, "w").refusals == (refusal,)
    asked = server.asked[2].path
    assert asked.startswith("/api/v1/namespaces/search/events?")
    assert "involvedObject.uid%3Du%2Creason%3DFailedCreate" in asked.replace(",", "%2C").replace("=Fa", "%3DFa")
    assert asked.endswith("limit=20")


def test_an_object_that_has_its_pods_costs_no_read_of_events(server: ScriptedServer) -> None:
    server.will(200, stateful(replicas=2)).will(200, {"items": []})
    assert server.driver().observe(SET, "w").refusals == ()
    assert len(server.asked) == 2


def test_credentials_that_may_not_read_events_hide_nothing_else(server: ScriptedServer) -> None:
    server.will(200, stateful()).will(200, {"items": []}).will(403, status(403, "events is forbidden"))
    found = server.driver().observe(SET, "w")
    assert (found.object or {})["kind"] == "StatefulSet"
    assert found.refusals == ()


def test_a_status_of_an_older_generation_is_not_explained_by_pods(server: ScriptedServer) -> None:
    server.will(200, {**LIVE, "status": {"observedGeneration": 2}})
    assert not server.driver().observe(WEB, "w").pods_seen
    assert len(server.asked) == 1


def many(*namespaces: str) -> list[ObservedObject]:
    return [
        ObservedObject(ObjectReference("Deployment", namespace, "web"), f"w-{namespace}") for namespace in namespaces
    ]


def test_many_objects_are_listed_over_all_namespaces_by_their_workloads(server: ScriptedServer) -> None:
    there = []
    for namespace in "ab":
        labels = {**OURS, "app.kubernetes.io/instance": f"w-{namespace}"}
        meta = {**LIVE["metadata"], "namespace": namespace, "labels": labels}
        counts = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
        there.append({"metadata": meta, "spec": {"replicas": 1}, "status": {"observedGeneration": 3, **counts}})
    server.will(200, {"items": there})
    found = server.driver().observe_many(many("a", "b"))
    assert [not isinstance(one, ClusterRefused) and one.pods_seen for one in found] == [False, False]
    assert [asked.path.partition("?")[0] for asked in server.asked] == ["/apis/apps/v1/deployments"]
    assert "w-a%2Cw-b" in server.asked[0].path or "w-a,w-b" in server.asked[0].path
    assert "resourceVersion" not in server.asked[0].path  # the most recent state, as a GET has it


def test_credentials_for_single_namespaces_list_each(server: ScriptedServer) -> None:
    server.will(403, status(403, "deployments is forbidden at the cluster scope"))
    server.will(200, {"items": []}).will(200, {"items": []})
    server.will(404, ABSENT).will(404, ABSENT).will(200, {"items": []})
    found = server.driver().observe_many(many("a", "b"))
    assert [not isinstance(one, ClusterRefused) and one.gone for one in found] == [True, True]
    listed = [asked.path.partition("?")[0] for asked in server.asked[1:3]]
    assert listed == ["/apis/apps/v1/namespaces/a/deployments", "/apis/apps/v1/namespaces/b/deployments"]
