"""A Kubernetes object in the place of a workload or a policy is named, with what to write instead."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from shared.eventing.processing import bad_fields
from shared.models.workload import WorkloadSpec
from shared.policy.documents import PolicyDocument


def refused(model: type[BaseModel], document: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as error:
        model.model_validate(document)
    [(path, message)] = bad_fields(error.value)
    assert path == ""
    return message


def manifest(api_version: str, kind: str) -> dict[str, Any]:
    pod = {"containers": [{"name": "main", "image": "ghcr.io/org/web:2"}]}
    spec = pod if kind == "Pod" else {"replicas": 2, "template": {"spec": pod}}
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "web"}, "spec": spec}


@pytest.mark.parametrize(
    ("api_version", "kind", "wanted"),
    [("apps/v1", "Deployment", "service"), ("apps/v1", "StatefulSet", "stateful"), ("batch/v1", "Job", "batch"),
     ("v1", "Pod", "service")],
)  # fmt: skip
def test_a_manifest_is_answered_with_the_workload_to_write(api_version: str, kind: str, wanted: str) -> None:
    message = refused(WorkloadSpec, manifest(api_version, kind))
    assert f"is a Kubernetes {kind}; Sentinel takes a workload" in message
    assert message.endswith(f'{{"name": "web", "type": "{wanted}", "image": "ghcr.io/org/web:2"}}')


def test_an_object_that_no_workload_becomes_says_so() -> None:
    message = refused(WorkloadSpec, {"apiVersion": "v1", "kind": "ConfigMap", "data": {}})
    assert "makes Deployments, Jobs and StatefulSets alone, no ConfigMap" in message


def test_a_hostile_object_cannot_forge_a_line_of_a_log() -> None:
    hostile = {
        "apiVersion": [],
        "kind": "X\nsentinel: done",
        "metadata": {"name": "n" * 9999},
        "spec": {"containers": [1]},
    }
    message = refused(WorkloadSpec, hostile)
    assert message.isprintable()
    assert len(message) < 300


def test_a_policy_is_told_apart_from_an_object_too() -> None:
    message = refused(
        PolicyDocument, {"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "p"}}
    )
    assert "is a Kubernetes ClusterPolicy; a policy of Sentinel has no apiVersion" in message
    assert PolicyDocument.model_validate({"name": "p", "rules": [{"type": "security"}]})
