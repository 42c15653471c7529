"""What is refused, with which status, reason and causes."""

from typing import Any

import pytest

from tests.contracts.kubernetes_api.api import MERGE, Home, Object, container, deployment, job, stateful_set


def _with(body: Object, path: tuple[str | int, ...], value: Any) -> Object:
    target: Any = body
    for part in path[:-1]:
        target = target[part]
    target[path[-1]] = value
    return body


_CONTAINER: tuple[str | int, ...] = ("spec", "template", "spec", "containers", 0)
_IN_CONTAINER = "spec.template.spec.containers[0]"


@pytest.mark.parametrize(
    ("path", "value", "causes"),
    [
        (("metadata", "name"), "Bad_Name", [("FieldValueInvalid", "metadata.name")]),
        (("metadata", "name"), "a" * 254, [("FieldValueInvalid", "metadata.name")]),
        (("metadata", "labels"), {"a": "b" * 64}, [("FieldValueInvalid", "metadata.labels")]),
        (("metadata", "labels"), {"a": "b c"}, [("FieldValueInvalid", "metadata.labels")]),
        (("metadata", "labels"), {"a b": "c"}, [("FieldValueInvalid", "metadata.labels")]),
        (("metadata", "finalizers"), ["x"], [("FieldValueInvalid", "metadata.finalizers[0]")]),
        (("spec", "replicas"), -1, [("FieldValueInvalid", "spec.replicas")]),
        (("spec", "selector"), {"matchLabels": {"x": "y"}}, [("FieldValueInvalid", "spec.template.metadata.labels")]),
        (("spec", "selector"), {}, [("FieldValueInvalid", "spec.selector")]),
        (("spec", "template", "spec", "containers"), [], [("FieldValueRequired", "spec.template.spec.containers")]),
        (
            ("spec", "template", "spec", "restartPolicy"),
            "Never",
            [("FieldValueNotSupported", "spec.template.spec.restartPolicy")],
        ),
        ((*_CONTAINER, "image"), "", [("FieldValueRequired", f"{_IN_CONTAINER}.image")]),
        ((*_CONTAINER, "name"), "A_B", [("FieldValueInvalid", f"{_IN_CONTAINER}.name")]),
        (
            (*_CONTAINER, "ports"),
            [{"containerPort": 70000}],
            [("FieldValueInvalid", f"{_IN_CONTAINER}.ports[0].containerPort")],
        ),
        (
            (*_CONTAINER, "volumeMounts"),
            [{"name": "v", "mountPath": "/v"}],
            [("FieldValueNotFound", f"{_IN_CONTAINER}.volumeMounts[0].name")],
        ),
        (
            (*_CONTAINER, "resources"),
            {"limits": {"nvidia.com/gpu": "0.5"}},
            [("FieldValueInvalid", f"{_IN_CONTAINER}.resources.limits[nvidia.com/gpu]")],
        ),
        (
            (*_CONTAINER, "resources"),
            {"limits": {"nvidia.com/gpu": "-1"}},
            [("FieldValueInvalid", f"{_IN_CONTAINER}.resources.limits[nvidia.com/gpu]")],
        ),
        (
            (*_CONTAINER, "resources"),
            {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}},
            [("FieldValueInvalid", f"{_IN_CONTAINER}.resources.requests")],
        ),
        (
            (*_CONTAINER, "readinessProbe"),
            {"periodSeconds": 3},
            [("FieldValueRequired", f"{_IN_CONTAINER}.readinessProbe")],
        ),
    ],
)
def test_an_invalid_deployment_is_a_422_that_names_the_field(
    home: Home, path: tuple[str | int, ...], value: Any, causes: list[tuple[str, str]]
) -> None:
    answer = home.create("deployments", _with(deployment("web"), path, value))
    assert (answer.code, answer.reason) == (422, "Invalid"), answer
    assert answer.causes == causes
    assert answer.body["details"]["kind"] == "Deployment"


def test_all_that_is_wrong_is_said_at_once(home: Home) -> None:
    body = _with(deployment("web", replicas=-1), (*_CONTAINER, "image"), "")
    causes = home.create("deployments", body).causes
    assert causes == [("FieldValueInvalid", "spec.replicas"), ("FieldValueRequired", f"{_IN_CONTAINER}.image")]


def test_an_unknown_field_is_refused_warned_of_or_ignored(home: Home) -> None:
    body = deployment("web", replicas=0, bogus=1)
    strict = home.create("deployments", body, fieldValidation="Strict")
    assert (strict.code, strict.reason) == (400, "BadRequest")
    assert strict.message.endswith('strict decoding error: unknown field "spec.bogus"')
    ignored = home.create("deployments", body, fieldValidation="Ignore", dryRun="All")
    assert (ignored.code, ignored.warning) == (201, "")
    warned = home.create("deployments", body)
    assert warned.code == 201
    assert warned.warning == '299 - "unknown field \\"spec.bogus\\""'
    assert "bogus" not in warned.body["spec"]
    patched = home.merge("deployments", "web", {"spec": {"bogus": 1}}, fieldValidation="Strict")
    assert (patched.code, patched.reason) == (422, "Invalid")


def test_a_wrong_type_is_a_400_that_names_the_field(home: Home) -> None:
    answer = home.create("deployments", _with(deployment("web"), ("spec", "replicas"), "two"))
    assert (answer.code, answer.reason) == (400, "BadRequest")
    assert answer.message.startswith('Deployment in version "v1" cannot be handled as a Deployment: ')
    assert "spec.replicas" in answer.message


def test_a_bad_quantity_is_a_400(home: Home) -> None:
    body = deployment("web")
    container(body)["resources"] = {"limits": {"cpu": "abc"}}
    answer = home.create("deployments", body)
    assert (answer.code, answer.reason) == (400, "BadRequest")
    assert "quantities must match the regular expression" in answer.message


def test_a_host_path_does_not_climb(home: Home) -> None:
    body = deployment("web", replicas=0)
    body["spec"]["template"]["spec"]["volumes"] = [{"name": "v", "hostPath": {"path": "/a/../b"}}]
    answer = home.create("deployments", body)
    assert answer.code == 422
    assert answer.causes == [("FieldValueInvalid", "spec.template.spec.volumes[0].hostPath.path")]


def test_duplicate_container_names_are_a_422(home: Home) -> None:
    body = deployment("web")
    body["spec"]["template"]["spec"]["containers"] *= 2
    answer = home.create("deployments", body)
    assert (answer.code, answer.causes) == (
        422,
        [("FieldValueDuplicate", "spec.template.spec.containers[1].name")],
    )


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b'{"kind":"Job","apiVersion":"batch/v1"}'])
def test_a_body_that_is_no_such_object_is_a_400(home: Home, body: bytes) -> None:
    answer = home.api("POST", home.path("deployments"), body)
    assert (answer.code, answer.reason) == (400, "BadRequest")


def test_media_types_methods_and_paths_that_do_not_exist(home: Home) -> None:
    path = home.path("deployments")
    assert home.api("POST", path, deployment("web"), "text/plain").code == 415
    assert home.api("PATCH", f"{path}/web", {}, "application/json").code == 415
    assert home.api("PUT", path, deployment("web")).code == 405
    assert home.api("POST", f"{path}/web", deployment("web")).code == 405
    assert home.api("POST", "/apis/apps/v1/deployments", deployment("web")).code == 405
    assert home.api("DELETE", "/api/v1/namespaces").code == 405
    assert home.api("GET", f"{path}/web/bogus").code == 404
    assert home.api("GET", "/apis/apps/v1/bogus").code == 404
    assert home.api("GET", "/bogus").code == 404


def test_an_absent_object_is_a_404_with_its_name(home: Home) -> None:
    for answer in (
        home.get("deployments", "none"),
        home.delete("deployments", "none"),
        home.merge("deployments", "none", {}),
    ):
        assert (answer.code, answer.reason) == (404, "NotFound")
        assert answer.message == 'deployments.apps "none" not found'
        assert answer.body["details"] == {"name": "none", "group": "apps", "kind": "deployments"}


def test_options_that_do_not_exist_are_refused(home: Home) -> None:
    for option in ({"dryRun": "x"}, {"fieldValidation": "x"}, {"fieldManager": "x" * 129}):
        answer = home.create("deployments", deployment("web"), **option)
        assert (answer.code, answer.reason) == (422, "Invalid"), option


def test_name_and_namespace_of_the_body_must_be_those_of_the_url(home: Home) -> None:
    body = deployment("web")
    body["metadata"]["namespace"] = "elsewhere"
    assert home.create("deployments", body).code == 400
    home.create("deployments", deployment("web", replicas=0))
    assert home.merge("deployments", "web", {"metadata": {"name": "other"}}).code == 400


def test_the_selector_of_a_deployment_cannot_change(home: Home) -> None:
    home.create("deployments", deployment("web", replicas=0))
    labels = {"app": "web", "x": "y"}
    change = {"spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}}
    answer = home.merge("deployments", "web", change)
    assert (answer.code, answer.causes) == (422, [("FieldValueInvalid", "spec.selector")])
    assert answer.message.endswith("field is immutable")


def test_the_template_of_a_job_cannot_change_and_its_parallelism_can(home: Home) -> None:
    home.create("jobs", job("batch", "fate.test/never-ready"))
    answer = home.apply("jobs", job("batch", "fate.test/ready"), force="true")
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert answer.causes == [("FieldValueInvalid", "spec.template")]
    assert answer.message.endswith("field is immutable")
    assert home.merge("jobs", "batch", {"spec": {"completions": 3}}).causes == [
        ("FieldValueInvalid", "spec.completions")
    ]
    assert home.merge("jobs", "batch", {"spec": {"parallelism": 2}}).code == 200
    replacement = home.merge("jobs", "batch", {"spec": {"podReplacementPolicy": "Failed"}})
    assert replacement.code == 200


def test_a_job_needs_a_restart_policy_that_ends(home: Home) -> None:
    body = job("batch")
    del body["spec"]["template"]["spec"]["restartPolicy"]
    answer = home.create("jobs", body)
    assert (answer.code, answer.causes) == (422, [("FieldValueRequired", "spec.template.spec.restartPolicy")])


def test_most_of_a_stateful_set_cannot_change(home: Home) -> None:
    home.create("statefulsets", stateful_set("db", 0))
    assert home.merge("statefulsets", "db", {"spec": {"serviceName": "x"}}).causes == [
        ("FieldValueInvalid", "spec.serviceName")
    ]
    assert home.merge("statefulsets", "db", {"spec": {"replicas": 1}}).code == 200


def test_a_namespace_name_has_no_dots(home: Home) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a.b"}}
    assert home.api("POST", "/api/v1/namespaces", body).causes == [("FieldValueInvalid", "metadata.name")]


def test_a_json_patch_of_the_wrong_type_is_a_422(home: Home) -> None:
    home.create("deployments", deployment("web", replicas=0))
    answer = home.api("PATCH", home.path("deployments", "web"), {"spec": {"replicas": "x"}}, MERGE)
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert answer.causes == [("FieldValueInvalid", "patch")]
