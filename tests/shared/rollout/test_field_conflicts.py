"""Whose fields an apply leaves, takes, or ends with a conflict over."""

from typing import Any

import pytest

from shared.models.deployment import OwnedField
from shared.models.workload import WorkloadSpec
from shared.rollout.field_conflicts import Resolution, resolve
from shared.rollout.manifests import manifest
from tests.support.builders import id_of

MAIN = '.spec.template.spec.containers[name="main"]'
IMAGE, CPU = f"{MAIN}.image", f"{MAIN}.resources.limits.cpu"
ARGS, ENV = f"{MAIN}.args", f'{MAIN}.env[name="A"].value'
PORT = f'{MAIN}.ports[containerPort=8000,protocol="TCP"].protocol'
AFFINITY = ".spec.template.spec.affinity"
POD = {IMAGE, CPU, ARGS, ENV, PORT, AFFINITY}
REPLICAS, DEADLINE, STAGE = ".spec.replicas", ".spec.progressDeadlineSeconds", ".metadata.labels.example.org/stage"
REVISION = ".metadata.annotations.sentinel.dev/revision"

WISH: dict[str, Any] = {
    "name": "web",
    "type": "inference",
    "image": "nginx:1.29",
    "args": ["a"],
    "env": {"A": "b", "x.y": "d"},
    "ports": [8000],
    "labels": {"example.org/stage": "canary"},
    "resources": {"gpu": {"count": 1, "sku": "L4"}},
}


def resolved(fields: set[str], failure: str | None) -> Resolution | None:
    spec = WorkloadSpec.model_validate(WISH)
    document = manifest(spec, workload_id=spec.id, plan_id=id_of(), revision=2, generation=1)
    return resolve(document, [OwnedField(field, "someone") for field in sorted(fields)], failure)


def test_replicas_alone_are_left_by_every_plan() -> None:
    for failure in (None, "", "ImagePullBackOff"):
        found = resolved({REPLICAS}, failure)
        assert found is not None
        assert (found.taken, found.left) == ((), (OwnedField(REPLICAS, "someone"),))
        assert "replicas" not in found.document["spec"]


@pytest.mark.parametrize("field", [IMAGE, STAGE, REVISION])
def test_any_other_field_is_a_conflict_unless_it_is_a_rollback(field: str) -> None:
    assert resolved({field, REPLICAS}, None) is None


@pytest.mark.parametrize(
    ("failure", "taken"),
    [
        ("ImagePullBackOff", {IMAGE}),
        ("InvalidImageName", {IMAGE}),
        ("Unschedulable", {CPU, PORT, AFFINITY}),
        ("CrashLoopBackOff", POD - {AFFINITY}),
        ("OOMKilled", POD - {AFFINITY}),
        ("DeadlineExceeded", POD),
        ("", POD),
    ],
)
def test_a_rollback_takes_what_may_have_broken_the_revision_before(failure: str, taken: set[str]) -> None:
    found = resolved({*POD, REPLICAS, DEADLINE, STAGE, REVISION}, failure)
    assert found is not None
    assert {one.field for one in found.taken} == taken | {REVISION}
    assert {one.field for one in found.left} == POD - taken | {REPLICAS, DEADLINE, STAGE}


def test_what_is_left_is_left_out_and_nothing_else() -> None:
    found = resolved({REPLICAS, STAGE, CPU, ENV, AFFINITY, ARGS}, "ImagePullBackOff")
    whole = resolved(set(), "")
    assert found is not None
    assert whole is not None
    del whole.document["spec"]["replicas"]
    del whole.document["metadata"]["labels"]["example.org/stage"]
    pod = whole.document["spec"]["template"]["spec"]
    del pod["affinity"]
    del pod["containers"][0]["args"]
    del pod["containers"][0]["env"][0]["value"]
    del pod["containers"][0]["resources"]["limits"]["cpu"]
    assert found.document == whole.document


def test_an_element_of_a_list_is_found_by_a_name_with_dots() -> None:
    found = resolved({f'{MAIN}.env[name="x.y"].value'}, "Unschedulable")
    assert found is not None
    assert found.document["spec"]["template"]["spec"]["containers"][0]["env"][1] == {"name": "x.y"}


def test_what_cannot_be_found_cannot_be_left_and_is_a_conflict() -> None:
    assert resolved({'.spec.template.spec.containers[name="other"].resources'}, "ImagePullBackOff") is None
