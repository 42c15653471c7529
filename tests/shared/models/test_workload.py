"""A workload: what may be posted, what it becomes, and how everything else is named."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from pydantic import ValidationError

from shared.eventing.processing import bad_fields
from shared.models.resources import GpuRequest
from shared.models.workload import WorkloadSpec, WorkloadType, workload_id
from tests.support.strategies import wire_workloads

ENV = [("URL", "$(PG_URL)"), ("PG_URL", "pg://$(PG_HOST)"), ("PG_HOST", "db")]
MINIMAL = {"name": "test-inference", "type": "inference", "image": "nginx:1.29"}


def complaints(**fields: Any) -> dict[str, str]:
    """What is said of each bad field, by its path."""
    with pytest.raises(ValidationError) as refusal:
        WorkloadSpec.model_validate({**MINIMAL, **fields})
    return {".".join(map(str, error["loc"])): error["msg"] for error in refusal.value.errors()}


def test_all_but_three_fields_have_defaults() -> None:
    spec = WorkloadSpec.model_validate(MINIMAL)
    assert (spec.team, spec.namespace, spec.replicas) == ("default", "default", 1)
    assert (spec.resources.cpu, spec.resources.memory, spec.resources.gpu.count) == (1000, 2**30, 0)
    assert (spec.deadline, spec.bake) == (timedelta(minutes=10), timedelta(seconds=10))


def test_units_and_names_are_normalised() -> None:
    resources = {"cpu": "4", "memory": "8Gi", "gpu": {"count": 1, "sku": "nvidia l4"}}
    spec = WorkloadSpec.model_validate({**MINIMAL, "resources": resources, "deadline": "PT90S"})
    assert (spec.resources.cpu, spec.resources.memory, spec.resources.gpu.sku) == (4000, 8 * 2**30, "L4")
    assert spec.deadline == timedelta(seconds=90)


@pytest.mark.parametrize(
    ("gpu", "sku", "product"),
    [
        ({"sku": "h100"}, "H100", None),
        ({"sku": "NVIDIA-H100-80GB-HBM3"}, "H100", "NVIDIA-H100-80GB-HBM3"),
        ({"sku": "NVIDIA H100 PCIe"}, "H100-PCIE", "NVIDIA-H100-PCIe"),
        ({"sku": "NVIDIA-GeForce-RTX-6090"}, "NVIDIA-GEFORCE-RTX-6090", "NVIDIA-GeForce-RTX-6090"),
        ({"product": "Tesla-P4"}, "P4", "Tesla-P4"),
        ({"sku": "A100-40GB", "product": "A100-SXM4-40GB"}, "A100-40GB", "A100-SXM4-40GB"),
        ({}, None, None),
    ],
)
def test_a_product_that_is_spelled_out_is_kept_beside_its_sku(
    gpu: dict[str, str], sku: str | None, product: str | None
) -> None:
    found = GpuRequest.model_validate({"count": 1, **gpu})
    assert (found.sku, found.product) == (sku, product)
    assert GpuRequest.model_validate(found.model_dump(mode="json", by_alias=True)) == found


@pytest.mark.parametrize(("given", "profile"), [("1g.5gb+me", "1g.5gb.me"), ("1g.24gb-me", "1g.24gb-me")])
def test_a_mig_profile_is_spelled_as_in_its_resource(given: str, profile: str) -> None:
    assert GpuRequest.model_validate({"count": 1, "mig": given}).mig == profile


@pytest.mark.parametrize(
    ("kind", "types"),
    [("Deployment", ["inference", "service"]), ("Job", ["training", "batch"]), ("StatefulSet", ["stateful"])],
)
def test_a_type_decides_the_kind(kind: str, types: list[str]) -> None:
    assert {WorkloadType(name).kind for name in types} == {kind}


def test_every_bad_field_is_named_at_once() -> None:
    found = complaints(
        name="x" * 64,
        image="nginx\n",
        type="magic",
        replicas=-1,
        resources={"cpu": "NaN", "memory": "-1", "gpu": {"count": -2, "sku": "", "mig": "0g.1gb"}},
        env={"A=B": "x", "C": "\0", "D": {"secret": "..", "key": ".."}, "E": 1},
        ports=[0, 70000],
        probe={"path": "\n", "port": True},
        volumes=[{"name": "V", "mountPath": "relative"}, {"name": "v", "mountPath": "/v"}],
        clusters={"matchLabels": {"a/b/c": "x", "ok": "-"}},
        labels={"bad key": "x"},
        deadline="PT0S",
        bake="P2D",
        generation=0,
        surprise=1,
    )
    assert set(found) == {
        "name",
        "image",
        "type",
        "replicas",
        "resources.cpu",
        "resources.memory",
        "resources.gpu.count",
        "resources.gpu.sku",
        "resources.gpu.mig",
        "env.A=B.[key]",
        "env.C.value",
        "env.D.secretReference.secret",
        "env.D.secretReference.key",
        "env.E.value",
        "ports.0",
        "ports.1",
        "probe.path",
        "probe.port",
        "volumes.0.name",
        "volumes.0.mountPath",
        "volumes.1",
        "clusters.matchLabels.a/b/c.[key]",
        "clusters.matchLabels.ok",
        "labels.bad key.[key]",
        "deadline",
        "bake",
        "generation",
        "surprise",
    }


@pytest.mark.parametrize(
    ("fields", "path", "words"),
    [
        ({"replicas": True}, "replicas", "valid integer"),
        ({"replicas": "2"}, "replicas", "valid integer"),
        ({"replicas": 10_001}, "replicas", "less than or equal to 10000"),
        ({"resources": {"gpu": {"count": 1.0}}}, "resources.gpu.count", "valid integer"),
        ({"resources": {"cpu": float("nan")}}, "resources.cpu", "is not a Kubernetes quantity"),
        ({"deadline": "P31D"}, "deadline", "30"),
        ({"resources": {"gpu": {"mig": "1g.١gb"}}}, "resources.gpu.mig", "MIG profile"),
        ({"resources": {"gpu": {"mig": "1c.3g.20gb"}}}, "resources.gpu.mig", "MIG profile"),
        ({"resources": {"gpu": {"sku": "H100", "product": "NVIDIA-L4"}}}, "resources.gpu", "is a GPU of the SKU L4"),
        ({"resources": {"gpu": {"product": "a b"}}}, "resources.gpu.product", "label value"),
        ({"image": ""}, "image", "at least 1 character"),
        ({"args": ["a\0"]}, "args.0", "NUL"),
        ({"command": ["a\0"]}, "command.0", "NUL"),
        (
            {"resources": {"cpu": "0"}},
            "resources.cpu",
            "must be at least 10m a replica: zero and almost zero are no limit",
        ),
        ({"resources": {"cpu": 0}}, "resources.cpu", "must be at least 10m a replica"),
        ({"resources": {"cpu": "9m"}}, "resources.cpu", "must be at least 10m a replica"),
        ({"resources": {"cpu": "1n"}}, "resources.cpu", "must be at least 10m a replica"),
        ({"resources": {"memory": "0"}}, "resources.memory", "must be at least 6Mi a replica"),
        ({"resources": {"memory": "1"}}, "resources.memory", "must be at least 6Mi a replica"),
        ({"resources": {"memory": "500m"}}, "resources.memory", "must be at least 6Mi a replica"),
        ({"resources": {"memory": "6291455"}}, "resources.memory", "must be at least 6Mi a replica"),
        ({"env": {"NVIDIA_VISIBLE_DEVICES": "all"}}, "", "takes GPUs that nobody counts: use resources.gpu"),
        ({"env": {"NVIDIA_VISIBLE_DEVICES": "0"}}, "", "env must not set NVIDIA_VISIBLE_DEVICES"),
        ({"env": {"AMD_VISIBLE_DEVICES": "0"}}, "", "env must not set AMD_VISIBLE_DEVICES"),
        (
            {"env": {"NVIDIA_VISIBLE_DEVICES": {"secret": "s", "key": "k"}}},
            "",
            "env must not set NVIDIA_VISIBLE_DEVICES",
        ),
        (
            {"volumes": [{"name": "v", "mountPath": "/var//run/nvidia-container-devices/all", "emptyDir": True}]},
            "",
            "must not be mounted in /var/run/nvidia-container-devices",
        ),
        ({"command": ["x" * 131_072]}, "", "command and args have 131073 bytes together; 131072 are allowed"),
        ({"args": ["é" * 5000] * 14}, "", "command and args have 140014 bytes together; 131072 are allowed"),
        ({"image": "Nginx"}, "image", "must be in lower case but for its tag: write 'nginx'"),
        ({"env": {"A": {"secret": "a..b", "key": "k"}}}, "env.A.secretReference.secret", "DNS-1123 subdomain"),
        ({"env": {"A": {"secret": "s", "key": "."}}}, "env.A.secretReference.key", "Secret key"),
        ({"ports": [80, 80]}, "", "ports must not repeat a value"),
        ({"labels": {"sentinel.dev/x": "y"}}, "", "Sentinel's own prefix: sentinel.dev/x"),
        ({"labels": {"job-name": "y"}}, "", "Kubernetes' controllers set themselves: job-name"),
        ({"labels": {"batch.kubernetes.io/x": "y"}}, "", "controllers set themselves: batch.kubernetes.io/x"),
        ({"labels": {"p" * 254 + "/x": "y"}}, "labels." + "p" * 254 + "/x.[key]", "label key"),
        ({"type": "batch", "replicas": 0}, "", "at least 1"),
        ({"volumes": [{"name": "v", "mountPath": "/v", "hostPath": "/a/../b"}]}, "volumes.0.hostPath", "'..'"),
        ({"nodeSelector": {"a b": "x"}}, "nodeSelector.a b.[key]", "label key"),
        ({"nodeSelector": {"disk": "-ssd"}}, "nodeSelector.disk", "label value"),
        ({"tolerations": [{}]}, "tolerations.0", "operator must be Exists when there is no key"),
        ({"tolerations": [{"key": "", "value": "x"}]}, "tolerations.0", "operator must be Exists when there is no key"),
        ({"tolerations": [{"key": "a b"}]}, "tolerations.0.key", "label key"),
        ({"tolerations": [{"key": "a", "operator": "Lt"}]}, "tolerations.0.operator", "'Exists' or 'Equal'"),
        (
            {"tolerations": [{"key": "a", "operator": "Exists", "value": "x"}]},
            "tolerations.0",
            "value must be left out",
        ),
        ({"tolerations": [{"key": "a", "value": "x y"}]}, "tolerations.0.value", "label value"),
        (
            {"tolerations": [{"key": "a", "effect": "Never"}]},
            "tolerations.0.effect",
            "'NoSchedule', 'PreferNoSchedule'",
        ),
        ({"tolerations": [{"key": "a", "tolerationSeconds": 5}]}, "tolerations.0", "effect must be NoExecute"),
        ({"tolerations": [{"key": "a", "tolerationSeconds": 1.5}]}, "tolerations.0.tolerationSeconds", "valid integer"),
    ],
)
def test_a_complaint_says_what_would_be_right(fields: dict[str, Any], path: str, words: str) -> None:
    found = complaints(**fields)
    assert list(found) == [path]
    assert words in found[path]


@pytest.mark.parametrize(
    ("fields", "path", "said"),
    [
        ({"env": {"DEBUG": True}}, "env.DEBUG.value", "must be text, not true or false: put quotes around it"),
        ({"env": {"LEVEL": 3}}, "env.LEVEL.value", "must be text, not a number: put quotes around it"),
        ({"env": {"RATE": 1.5}}, "env.RATE.value", "must be text, not a number: put quotes around it"),
        ({"env": {"EMPTY": None}}, "env.EMPTY.value",
         'must be text, not null: write "" for empty text, or leave it out'),
        ({"env": {"LIST": ["a"]}}, "env.LIST.value", "must be text, not a list"),
        ({"env": {1: "a"}}, "env.1.[key]", "must be text, not a number: put quotes around it"),
        ({"args": ["--port", 8080]}, "args.1", "must be text, not a number: put quotes around it"),
        ({"command": ["sleep", 60]}, "command.1", "must be text, not a number: put quotes around it"),
        ({"labels": {"version": 1.1}}, "labels.version", "must be text, not a number: put quotes around it"),
        ({"labels": {"spot": False}}, "labels.spot", "must be text, not true or false: put quotes around it"),
        ({"team": {"name": "a"}}, "team", "must be text, not an object"),
        ({"replicas": "2"}, "replicas", "Input should be a valid integer: leave the quotes out"),
        ({"ports": ["22:22"]}, "ports.0",
         "must be the container's port, a number from 1 to 65535 without quotes; no host port"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_says_what_to_write(fields: dict[str, Any], path: str, said: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        WorkloadSpec.model_validate({**MINIMAL, **fields})
    assert bad_fields(refusal.value) == [(path, said)]


@pytest.mark.parametrize(
    "command",
    [["sh", "-c", "line one\nline two"], [""], ["sh", "-c", "x" * 5000], ["\t\x1b[0m"], ["x" * 131_071]],
    ids=["lines", "empty", "long", "control characters", "as long as Linux takes"],
)
def test_a_command_is_whatever_a_process_can_be_given(command: list[str]) -> None:
    for field in ("command", "args"):
        spec = WorkloadSpec.model_validate({**MINIMAL, field: command})
        assert getattr(WorkloadSpec.from_content(spec.content()), field) == tuple(command)


def test_the_smallest_workload_is_what_a_node_enforces() -> None:
    spec = WorkloadSpec.model_validate({**MINIMAL, "resources": {"cpu": "10m", "memory": "6Mi"}})
    assert (spec.resources.cpu, spec.resources.memory) == (10, 6 * 2**20)


def test_a_workload_may_hide_the_gpus_of_its_node() -> None:
    env = {"NVIDIA_VISIBLE_DEVICES": "void", "AMD_VISIBLE_DEVICES": "none"}
    assert WorkloadSpec.model_validate({**MINIMAL, "env": env}).env == env


@pytest.mark.parametrize(
    "fields",
    [
        {"image": "Nginx"},
        {"resources": {"cpu": "0", "memory": "0"}},
        {"resources": {"memory": "1"}},
        {"args": ["x" * 4096] * 40},
        {"env": {"NVIDIA_VISIBLE_DEVICES": "all"}},
        {"volumes": [{"name": "v", "mountPath": "/var/run/nvidia-container-devices/all", "emptyDir": True}]},
    ],
)
def test_a_row_that_an_earlier_release_has_stored_stays_readable(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WorkloadSpec.model_validate({**MINIMAL, **fields})
    stored = WorkloadSpec.from_content({**MINIMAL, **fields})
    assert WorkloadSpec.from_content(stored.content()) == stored


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600), ("1h30m", 5400), ("600s", 600), ("2d", 172_800), ("PT90S", 90)]
)
def test_a_deadline_is_written_in_either_notation(text: str, seconds: int) -> None:
    assert WorkloadSpec.model_validate({**MINIMAL, "deadline": text}).deadline == timedelta(seconds=seconds)


@pytest.mark.parametrize("value", [True, 600, 1.5, "600", "01:30", "10:00", "1 day", "P1M", None])
def test_a_deadline_is_never_guessed_at(value: Any) -> None:
    assert list(complaints(deadline=value)) == ["deadline"]
    assert list(complaints(bake=value)) == ["bake"]


@pytest.mark.parametrize(
    "sources", [{}, {"emptyDir": False}, {"emptyDir": True, "claim": "c"}, {"configMap": "a", "secret": "b"}]
)
def test_a_volume_has_exactly_one_source(sources: dict[str, Any]) -> None:
    found = complaints(volumes=[{"name": "v", "mountPath": "/v", **sources}])
    assert "exactly one of emptyDir, hostPath, claim, configMap, secret" in found["volumes.0"]


@pytest.mark.parametrize("twice", [("v", "/a", "v", "/b"), ("v", "/a", "w", "/a")])
def test_volumes_share_neither_name_nor_path(twice: tuple[str, ...]) -> None:
    first, first_path, second, second_path = twice
    volumes = [
        {"name": first, "mountPath": first_path, "emptyDir": True},
        {"name": second, "mountPath": second_path, "emptyDir": True},
    ]
    assert "volumes must not repeat a value" in complaints(volumes=volumes)[""]


def test_a_hostile_label_key_is_refused_quickly() -> None:
    assert "at most 317 characters" in complaints(labels={"a." * 400_000: "x"}).popitem()[1]


def test_a_workload_is_its_team_namespace_and_name() -> None:
    spec = WorkloadSpec.model_validate({**MINIMAL, "team": "search", "namespace": "serving", "image": "other"})
    assert spec.id == workload_id("search", "serving", "test-inference")
    assert spec.id == uuid.UUID("28c08fe0-9e1d-5f06-adab-74d450de2870")
    assert spec.id != workload_id("other", "serving", "test-inference")


@given(wire_workloads())
def test_the_wire_form_comes_back_as_the_same_workload(wire: dict[str, Any]) -> None:
    spec = WorkloadSpec.model_validate(wire)
    for again in (
        WorkloadSpec.from_content(json.loads(json.dumps(spec.content()))),
        WorkloadSpec.model_validate_json(spec.model_dump_json(by_alias=True, exclude={"generation"})),
    ):
        assert again == spec
        assert list(again.env) == list(spec.env)
        assert again.content() == spec.content()
    assert "generation" not in spec.content()


def test_another_order_of_the_environment_is_another_content() -> None:
    one, other = (WorkloadSpec.model_validate({**MINIMAL, "env": dict(pairs)}) for pairs in (ENV, ENV[::-1]))
    assert one.content() != other.content()
    assert one.model_dump(mode="json")["env"] == dict(ENV)


def test_the_environment_of_a_row_of_an_earlier_version_is_in_the_order_of_names() -> None:
    stored = {**WorkloadSpec.model_validate(MINIMAL).content(), "env": dict(ENV)}
    assert list(WorkloadSpec.from_content(stored).env) == ["PG_HOST", "PG_URL", "URL"]


def test_the_generation_is_no_part_of_the_content() -> None:
    first, second = (WorkloadSpec.model_validate({**MINIMAL, "generation": n}) for n in (1, 2))
    assert first.content() == second.content()


def test_a_selector_matches_all_its_labels() -> None:
    spec = WorkloadSpec.model_validate({**MINIMAL, "clusters": {"matchLabels": {"region": "eu", "tier": ""}}})
    assert spec.clusters.matches({"region": "eu", "tier": "", "more": "x"})
    assert not spec.clusters.matches({"region": "eu"})
    assert WorkloadSpec.model_validate(MINIMAL).clusters.matches({})
