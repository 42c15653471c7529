"""Creation, patches, status and scale."""

from tests.contracts.kubernetes_api.api import (
    JSON_PATCH,
    MERGE,
    STRATEGIC,
    Home,
    Object,
    config_map,
    container,
    deployment,
    job,
    managers,
    stateful_set,
)


def test_a_created_object_has_identity_defaults_and_generation_one(home: Home) -> None:
    created = home.create("deployments", deployment("web"))
    assert created.code == 201
    metadata, spec = created.body["metadata"], created.body["spec"]
    assert metadata["generation"] == 1
    assert metadata["namespace"] == home.namespace
    assert {"uid", "resourceVersion", "creationTimestamp", "managedFields"} <= metadata.keys()
    assert spec["revisionHistoryLimit"] == 10
    assert spec["progressDeadlineSeconds"] == 600
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    pod = spec["template"]["spec"]
    assert (pod["restartPolicy"], pod["terminationGracePeriodSeconds"], pod["dnsPolicy"]) == (
        "Always",
        30,
        "ClusterFirst",
    )
    assert container(created.body) == {
        "name": "main",
        "image": "fate.test/ready",
        "imagePullPolicy": "Always",
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }
    assert home.get("deployments", "web").body["metadata"]["uid"] == metadata["uid"]


def test_jobs_and_stateful_sets_have_their_defaults(home: Home) -> None:
    made = home.create("jobs", job("batch")).body
    spec = made["spec"]
    assert (spec["completions"], spec["parallelism"], spec["completionMode"]) == (1, 1, "NonIndexed")
    assert spec["suspend"] is False
    uid = made["metadata"]["uid"]
    assert spec["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    assert spec["template"]["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "batch"
    stateful = home.create("statefulsets", stateful_set("db")).body["spec"]
    assert stateful["updateStrategy"]["type"] == "RollingUpdate"
    assert stateful["revisionHistoryLimit"] == 10


def test_quantities_are_stored_in_canonical_form(home: Home) -> None:
    body = deployment("web", replicas=0)
    container(body)["resources"] = {
        "limits": {"cpu": "1500m", "memory": "2048Mi", "nvidia.com/gpu": 1},
        "requests": {"cpu": 0.5, "memory": "1e9"},
    }
    stored = container(home.create("deployments", body).body)["resources"]
    assert stored["limits"] == {"cpu": "1500m", "memory": "2Gi", "nvidia.com/gpu": "1"}
    assert stored["requests"] == {"cpu": "500m", "memory": "1e9"}


def test_a_second_creation_is_refused(home: Home) -> None:
    home.create("configmaps", config_map("one"))
    again = home.create("configmaps", config_map("one"))
    assert (again.code, again.reason) == (409, "AlreadyExists")


def test_generate_name_makes_a_name(home: Home) -> None:
    body = config_map("")
    body["metadata"] = {"generateName": "made-"}
    name = home.create("configmaps", body).body["metadata"]["name"]
    assert name.startswith("made-")
    assert len(name) == len("made-") + 5


def test_nothing_can_be_created_in_an_absent_namespace(home: Home) -> None:
    absent = Home(home.api, f"{home.namespace}-absent")
    for answer in (absent.create("deployments", deployment("web")), absent.apply("deployments", deployment("web"))):
        assert (answer.code, answer.reason) == (404, "NotFound")
        assert answer.message == f'namespaces "{absent.namespace}" not found'
        assert answer.body["details"]["kind"] == "namespaces"


def test_a_dry_run_changes_nothing(home: Home) -> None:
    assert home.create("deployments", deployment("web"), dryRun="All").code == 201
    assert home.get("deployments", "web").code == 404
    assert home.apply("deployments", deployment("web"), dryRun="All").code in (200, 201)
    assert home.get("deployments", "web").code == 404


def test_the_generation_counts_changes_of_the_spec_only(home: Home) -> None:
    home.create("deployments", deployment("web", replicas=0))
    labelled = home.merge("deployments", "web", {"metadata": {"labels": {"a": "b"}}}).body
    assert labelled["metadata"]["generation"] == 1
    scaled = home.merge("deployments", "web", {"spec": {"replicas": 2}}).body
    assert scaled["metadata"]["generation"] == 2


def test_a_merge_patch_with_null_removes_or_restores_the_default(home: Home) -> None:
    home.create(
        "deployments", deployment("web", replicas=0) | {"metadata": {"name": "web", "labels": {"a": "b", "c": "d"}}}
    )
    patched = home.merge("deployments", "web", {"metadata": {"labels": {"a": None}}, "spec": {"replicas": None}}).body
    assert patched["metadata"]["labels"] == {"c": "d"}
    assert patched["spec"]["replicas"] == 1


def test_a_patch_that_changes_nothing_keeps_the_version(home: Home) -> None:
    before = home.create("configmaps", config_map("one", a="b")).body
    after = home.merge("configmaps", "one", {"metadata": {"labels": {"a": "b"}}})
    assert after.code == 200
    assert after.body["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_a_strategic_patch_merges_lists_by_key(home: Home) -> None:
    home.create("deployments", deployment("web", replicas=0))

    def patch(variables: list[dict[str, str]]) -> list[dict[str, str]]:
        change = {"spec": {"template": {"spec": {"containers": [{"name": "main", "env": variables}]}}}}
        answer = home.api("PATCH", home.path("deployments", "web"), change, STRATEGIC)
        env: list[dict[str, str]] = container(answer.body).get("env", [])
        return env

    assert patch([{"name": "A", "value": "1"}]) == [{"name": "A", "value": "1"}]
    assert {v["name"] for v in patch([{"name": "B", "value": "2"}])} == {"A", "B"}
    assert patch([{"name": "A", "$patch": "delete"}]) == [{"name": "B", "value": "2"}]


def test_a_json_patch_applies_or_is_refused(home: Home) -> None:
    home.create("deployments", deployment("web", replicas=0))
    path = home.path("deployments", "web")
    changed = home.api("PATCH", path, [{"op": "replace", "path": "/spec/replicas", "value": 2}], JSON_PATCH)
    assert changed.body["spec"]["replicas"] == 2
    refused = home.api("PATCH", path, [{"op": "test", "path": "/spec/replicas", "value": 9}], JSON_PATCH)
    assert (refused.code, refused.reason) == (422, "Invalid")


def test_a_merge_patch_honours_the_version_it_carries(home: Home) -> None:
    version = home.create("configmaps", config_map("one")).body["metadata"]["resourceVersion"]
    assert home.merge("configmaps", "one", {"metadata": {"resourceVersion": version}, "data": {"a": "c"}}).code == 200
    stale = home.merge("configmaps", "one", {"metadata": {"resourceVersion": version}, "data": {"a": "d"}})
    assert (stale.code, stale.reason) == (409, "Conflict")


def test_the_status_is_written_through_its_subresource_only(home: Home) -> None:
    home.create("deployments", deployment("web", replicas=0))
    change = {"metadata": {"labels": {"x": "y"}}, "spec": {"replicas": 9}, "status": {"collisionCount": 7}}
    answer = home.api("PATCH", home.path("deployments", "web", "status"), change, MERGE, fieldManager="reporter")
    assert answer.code == 200
    assert answer.body["spec"]["replicas"] == 0
    assert answer.body["status"]["collisionCount"] == 7
    assert "labels" not in answer.body["metadata"]
    assert answer.body["metadata"]["generation"] == 1
    assert ("reporter", "Update", "status") in managers(answer.body)
    ignored = home.merge("deployments", "web", {"status": {"collisionCount": 8}}).body
    assert ignored["status"]["collisionCount"] == 7


def test_scale_reads_and_writes_the_replicas(home: Home) -> None:
    home.create("deployments", deployment("web", replicas=0))
    path = home.path("deployments", "web", "scale")
    read = home.api("GET", path).body
    assert (read["kind"], read["apiVersion"], read["spec"]) == ("Scale", "autoscaling/v1", {})
    assert read["status"]["selector"] == "app=web"
    written = home.api("PATCH", path, {"spec": {"replicas": 3}}, MERGE, fieldManager="scaler")
    assert (written.code, written.body["spec"]["replicas"]) == (200, 3)
    stored = home.get("deployments", "web").body
    assert (stored["spec"]["replicas"], stored["metadata"]["generation"]) == (3, 2)
    assert ("scaler", "Update", "scale") in managers(stored)
    refused = home.api("PATCH", path, {"spec": {"replicas": -1}}, MERGE)
    assert (refused.code, refused.causes) == (422, [("FieldValueInvalid", "spec.replicas")])
    misnamed: tuple[Object, ...] = ({"metadata": {"name": "other"}}, {"metadata": {"namespace": "other"}})
    for change in misnamed:
        assert home.api("PATCH", path, change, MERGE).code == 400, change
    unfit: tuple[Object, ...] = ({"kind": "Other"}, {"spec": {"replicas": 2**40}}, {"spec": 1})
    for change in unfit:
        assert home.api("PATCH", path, change, MERGE).code == 422, change
    stale = {"metadata": {"resourceVersion": read["metadata"]["resourceVersion"]}, "spec": {"replicas": 1}}
    assert home.api("PATCH", path, stale, MERGE).code == 409


def test_a_patch_cannot_make_another_kind_of_an_object(home: Home) -> None:
    home.create("configmaps", config_map("a"))
    assert home.merge("configmaps", "a", {"kind": "Secret"}).code == 422
    assert home.merge("configmaps", "a", {"apiVersion": "v2"}).code == 422


def test_a_json_patch_removes_only_what_is_there(home: Home) -> None:
    home.create("configmaps", config_map("a", x="y"))
    path = home.path("configmaps", "a")
    assert home.api("PATCH", path, [{"op": "remove", "path": "/data/absent"}], JSON_PATCH).code == 422
    assert home.api("PATCH", path, [{"op": "invert", "path": "/data/a"}], JSON_PATCH).code == 422
