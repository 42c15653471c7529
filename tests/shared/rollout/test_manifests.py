"""Manifests: what Kubernetes is asked for, within the limits of its names and labels."""

import json
import re
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.models.workload import WorkloadSpec
from shared.rollout.manifests import (
    KubernetesObject,
    excluded_nodes_of,
    hardening,
    hardening_of,
    manifest,
    missing_identity,
    object_name,
    restored,
    surge_replicas,
)
from tests.support.strategies import wire_workloads, workloads

PLAN = uuid.UUID(int=7)
NODE_NAMES = st.sampled_from(["gpu-1", "gpu-2", "gpu-3"])
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

FULL: dict[str, Any] = {
    "name": "test-inference",
    "type": "inference",
    "image": "nginx:1.29",
    "team": "search",
    "namespace": "serving",
    "replicas": 2,
    "resources": {"cpu": "4", "memory": "8Gi", "gpu": {"count": 1, "sku": "H100"}},
    "command": ["serve"],
    "args": ["--fast"],
    "env": {"TOKEN": {"secret": "s", "key": "k"}, "A": "b"},
    "ports": [8000],
    "probe": {"path": "/health", "port": 8000},
    "volumes": [
        {"name": "scratch", "mountPath": "/scratch", "emptyDir": True},
        {"name": "model", "mountPath": "/model", "claim": "weights", "readOnly": True},
        {"name": "conf", "mountPath": "/conf", "configMap": "settings"},
        {"name": "tls", "mountPath": "/tls", "secret": "certificate"},
    ],
    "labels": {"example.org/stage": "canary"},
    "deadline": "PT90.5S",
}


def made(revision: int = 3, **changes: Any) -> KubernetesObject:
    spec = WorkloadSpec.model_validate({**FULL, **changes})
    return manifest(spec, workload_id=spec.id, plan_id=PLAN, revision=revision, generation=5)


def container(document: KubernetesObject) -> dict[str, Any]:
    found = document["spec"]["template"]["spec"]["containers"][0]
    assert isinstance(found, dict)
    return found


def test_labels_and_annotations_say_whose_an_object_is() -> None:
    document = made()
    identity = str(WorkloadSpec.model_validate(FULL).id)
    assert document["metadata"]["labels"] == {
        "app.kubernetes.io/name": "test-inference",
        "app.kubernetes.io/instance": identity,
        "app.kubernetes.io/managed-by": "sentinel",
        "app.kubernetes.io/part-of": "sentinel",
        "sentinel.dev/team": "search",
        "example.org/stage": "canary",
    }
    assert document["metadata"]["annotations"] == {
        "sentinel.dev/generation": "5",
        "sentinel.dev/plan": str(PLAN),
        "sentinel.dev/revision": "3",
    }
    assert document["spec"]["selector"] == {"matchLabels": {"app.kubernetes.io/instance": identity}}
    assert document["spec"]["template"]["metadata"] == {"labels": document["metadata"]["labels"]}


def test_a_container_has_all_that_was_asked_for() -> None:
    resources = {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "1"}
    assert container(made()) == {
        "name": "main",
        "image": "nginx:1.29",
        "resources": {"requests": resources, "limits": resources},
        "command": ["serve"],
        "args": ["--fast"],
        "env": [
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "A", "value": "b"},
        ],
        "ports": [{"containerPort": 8000, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": 8000}},
        "volumeMounts": [
            {"name": "scratch", "mountPath": "/scratch"},
            {"name": "model", "mountPath": "/model", "readOnly": True},
            {"name": "conf", "mountPath": "/conf"},
            {"name": "tls", "mountPath": "/tls"},
        ],
    }


def test_variables_stay_in_the_order_they_were_written_in() -> None:
    env = {"PG_HOST": "db", "APP_URL": "pg://$(PG_HOST)"}
    assert [entry["name"] for entry in container(made(env=env))["env"]] == ["PG_HOST", "APP_URL"]


def test_volumes_have_their_sources() -> None:
    assert made()["spec"]["template"]["spec"]["volumes"] == [
        {"name": "scratch", "emptyDir": {}},
        {"name": "model", "persistentVolumeClaim": {"claimName": "weights"}},
        {"name": "conf", "configMap": {"name": "settings"}},
        {"name": "tls", "secret": {"secretName": "certificate"}},
    ]


def test_a_sku_becomes_affinity_to_its_products() -> None:
    required = made()["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    values = ["NVIDIA-H100", "NVIDIA-H100-80GB-HBM3"]
    product = {"key": "nvidia.com/gpu.product", "operator": "In", "values": values}
    assert required == {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [product]}]}
    }


@pytest.mark.parametrize(
    ("sku", "values"),
    [
        ("NVIDIA-GeForce-RTX-5090", ["NVIDIA-GeForce-RTX-5090"]),
        ("RTX 5090", ["NVIDIA-GeForce-RTX-5090"]),
        ("Tesla-P4", ["Tesla-P4"]),
        ("NVIDIA-H100-PCIe", ["NVIDIA-H100-PCIe"]),
        ("A100-40GB-MIG-1g.5gb", ["A100-SXM4-40GB-MIG-1g.5gb", "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"]),
        ("NVIDIA-L4-SHARED", ["NVIDIA-L4-SHARED"]),
    ],
)
def test_the_affinity_has_the_case_of_node_labels(sku: str, values: list[str]) -> None:
    affinity = made(resources={"gpu": {"count": 1, "sku": sku}})["spec"]["template"]["spec"]["affinity"]
    [term] = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"][0]["values"] == values


def test_a_product_that_no_table_knows_has_the_case_of_the_clusters_nodes() -> None:
    spec = WorkloadSpec.model_validate({**FULL, "resources": {"gpu": {"count": 1, "sku": "nvidia geforce rtx 6090"}}})
    products = ["NVIDIA-GeForce-RTX-6090", "NVIDIA-L4"]
    document = manifest(spec, workload_id=spec.id, plan_id=PLAN, revision=1, generation=1, products=products)
    assert '"values": ["NVIDIA-GeForce-RTX-6090"]' in json.dumps(document)


@pytest.mark.parametrize("gpu", [{"count": 1}, {"count": 0, "sku": "H100"}, {}])
def test_any_gpu_or_none_needs_no_affinity(gpu: dict[str, Any]) -> None:
    assert "affinity" not in made(resources={"gpu": gpu})["spec"]["template"]["spec"]


def test_a_mig_slice_is_a_resource_of_its_own() -> None:
    limits = container(made(resources={"gpu": {"count": 2, "sku": "H100", "mig": "1g.10gb"}}))["resources"]["limits"]
    assert limits == {"cpu": "1", "memory": "1Gi", "nvidia.com/mig-1g.10gb": "2"}


GPUS = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
DEDICATED = {"key": "dedicated", "operator": "Equal", "value": "ml", "effect": "NoExecute", "tolerationSeconds": 60}


@pytest.mark.parametrize(
    ("gpu", "given", "expected"),
    [
        ({"count": 1}, [], [GPUS]),
        ({"count": 1, "mig": "1g.10gb"}, [], [GPUS]),
        ({"count": 1}, [DEDICATED], [DEDICATED, GPUS]),
        ({"count": 1}, [GPUS], [GPUS]),
        ({"count": 0, "sku": "H100"}, [DEDICATED], [DEDICATED]),
        ({}, [{"operator": "Exists"}], [{"operator": "Exists"}]),
        ({}, [{"key": "", "operator": "Exists", "effect": ""}], [{"operator": "Exists"}]),
        ({}, [{"key": "a"}], [{"key": "a", "operator": "Equal"}]),
    ],
)
def test_pods_tolerate_what_was_asked_for_and_the_taint_of_gpu_nodes_when_they_have_gpus(
    gpu: dict[str, Any], given: list[dict[str, Any]], expected: list[dict[str, Any]]
) -> None:
    pod = made(resources={"gpu": gpu}, tolerations=given)["spec"]["template"]["spec"]
    assert pod["tolerations"] == expected


def test_a_node_selector_is_the_pods() -> None:
    pod = made(nodeSelector={"zone": "b", "disk": "ssd"})["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"disk": "ssd", "zone": "b"}


@given(workloads)
def test_what_policy_looks_at_reads_back_from_the_manifest(spec: WorkloadSpec) -> None:
    document = manifest(spec, workload_id=spec.id, plan_id=PLAN, revision=1, generation=1)
    assert hardening_of(json.loads(json.dumps(document))) == hardening(spec)


@pytest.mark.parametrize(("count", "keys"), [(1, ("dedicated", "")), (0, ("nvidia.com/gpu", "dedicated", ""))])
def test_the_taint_of_gpu_nodes_is_asked_for_only_by_who_needs_no_gpu(count: int, keys: tuple[str, ...]) -> None:
    tolerations = [GPUS, DEDICATED, {"operator": "Exists"}]
    document = made(resources={"gpu": {"count": count}}, tolerations=tolerations)
    assert hardening_of(document).tolerations == keys


def test_a_bare_workload_claims_nothing_that_it_does_not_name() -> None:
    spec = WorkloadSpec.model_validate({"name": "w", "type": "service", "image": "i"})
    document = manifest(spec, workload_id=spec.id, plan_id=PLAN, revision=1, generation=1)
    assert set(container(document)) == {"name", "image", "resources"}
    assert set(document["spec"]["template"]["spec"]) == {"containers"}


def test_a_deployment_rolls_out_with_one_replica_more_and_none_less() -> None:
    spec = made()["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert spec["progressDeadlineSeconds"] == 91
    assert surge_replicas("Deployment") == 1


def test_a_stateful_set_starts_its_pods_in_parallel() -> None:
    document = made(type="stateful")
    assert (document["apiVersion"], document["kind"]) == ("apps/v1", "StatefulSet")
    assert document["spec"]["podManagementPolicy"] == "Parallel"
    assert surge_replicas("StatefulSet") == 0


@pytest.mark.parametrize(("replicas", "mode"), [(1, "NonIndexed"), (2, "Indexed")])
def test_a_job_runs_each_replica_once(replicas: int, mode: str) -> None:
    document = made(type="training", replicas=replicas)
    assert (document["apiVersion"], document["kind"]) == ("batch/v1", "Job")
    spec = dict(document["spec"])
    assert spec.pop("template")["spec"]["restartPolicy"] == "Never"
    assert spec == {"completions": replicas, "parallelism": replicas, "completionMode": mode, "backoffLimit": 0}
    assert surge_replicas("Job") == 0


def test_a_job_replaces_failed_pods_as_it_says_and_each_after_its_end() -> None:
    rules = [
        {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [42, 0, 7], "containerName": "main"}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
    ]
    spec = made(type="batch", backoffLimit=3, podFailurePolicy={"rules": rules})["spec"]
    assert (spec["backoffLimit"], spec["podReplacementPolicy"]) == (3, "Failed")
    assert spec["podFailurePolicy"]["rules"] == [
        {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [0, 7, 42], "containerName": "main"}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]
    assert "podFailurePolicy" not in made(type="batch", backoffLimit=3)["spec"]


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("inference", "web", "web"),
        ("inference", "x" * 63, "x" * 63),
        ("stateful", "x" * 52, "x" * 52),
        ("stateful", "x" * 53, "x" * 43 + "-[0-9a-f]{8}"),
        ("batch", "web", "web-r3"),
        ("batch", "x" * 54, "x" * 54 + "-r3"),
        ("batch", "x" * 55, "x" * 45 + "-[0-9a-f]{8}-r3"),
    ],
)
def test_names_are_cut_only_where_they_must(kind: str, name: str, expected: str) -> None:
    spec = WorkloadSpec.model_validate({"name": name, "type": kind, "image": "i"})
    assert re.fullmatch(expected, object_name(spec, 3))


def test_names_that_differ_only_where_they_are_cut_stay_apart() -> None:
    names = [
        object_name(WorkloadSpec.model_validate({"name": "x" * 60 + end, "type": "stateful", "image": "i"}), 1)
        for end in ("-a", "-b")
    ]
    assert len(set(names)) == 2


def test_scaling_and_replanning_leave_the_pod_template_alone() -> None:
    other_plan = {**FULL, "replicas": 9, "deadline": "PT1H", "generation": 12}
    spec = WorkloadSpec.model_validate(other_plan)
    document = manifest(spec, workload_id=spec.id, plan_id=uuid.uuid4(), revision=8, generation=12)
    assert document["spec"]["template"] == made()["spec"]["template"]


@given(workloads, st.integers(1, 10**6))
def test_names_and_labels_fit_their_limits(spec: WorkloadSpec, revision: int) -> None:
    document = manifest(spec, workload_id=spec.id, plan_id=PLAN, revision=revision, generation=1)
    name = document["metadata"]["name"]
    # What the controllers make of the name: a revision label, the host name of an indexed pod, a job-name label.
    suffix = {"Deployment": "", "StatefulSet": "-0123456789", "Job": f"-{spec.most_replicas - 1}"}[document["kind"]]
    assert NAME.fullmatch(name + suffix)
    assert all(LABEL.fullmatch(value) for value in document["metadata"]["labels"].values())


@given(wire_workloads(), st.randoms())
def test_the_order_of_keys_does_not_change_a_manifest_except_in_the_environment(
    wire: dict[str, Any], random: Any
) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            items = [(key, shuffled(inner)) for key, inner in value.items()]
            random.shuffle(items)
            return dict(items)
        return value

    other = {**shuffled(wire), "env": wire["env"]}
    first, second = WorkloadSpec.model_validate(wire), WorkloadSpec.model_validate(other)
    rendered = [
        json.dumps(manifest(spec, workload_id=spec.id, plan_id=PLAN, revision=1, generation=1))
        for spec in (first, second)
    ]
    assert rendered[0] == rendered[1]


def test_what_an_object_lacks_of_its_identity_is_known() -> None:
    desired = made(labels={"tier": "gold"})
    meta = desired["metadata"]
    assert missing_identity(desired, desired) == {}
    bare = {"metadata": {"name": "web"}}
    assert missing_identity(bare, desired) == {
        "labels": {key: text for key, text in meta["labels"].items() if key != "tier"},
        "annotations": meta["annotations"],
    }
    given_away = {"metadata": {**meta, "labels": {**meta["labels"], "app.kubernetes.io/managed-by": "Helm"}}}
    newer = {"metadata": {**meta, "annotations": {**meta["annotations"], "sentinel.dev/revision": "99"}}}
    assert missing_identity(given_away, desired) == missing_identity(newer, desired) == {}


def node_terms(document: KubernetesObject) -> list[dict[str, Any]]:
    """The alternatives of the required node affinity; none where any node will do."""
    affinity = document["spec"]["template"]["spec"].get("affinity", {}).get("nodeAffinity", {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {})
    found: list[dict[str, Any]] = required.get("nodeSelectorTerms", [])
    return found


AVOIDS = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["gpu-1", "gpu-2"]}


@pytest.mark.parametrize("resources", [FULL["resources"], {"cpu": "1"}])
def test_a_pod_accepts_its_product_only_on_nodes_that_are_not_excluded(resources: dict[str, Any]) -> None:
    """One term: terms are alternatives, and a second one would take the pod to an excluded node after all."""
    spec = WorkloadSpec.model_validate({**FULL, "resources": resources})
    how: dict[str, Any] = {"workload_id": spec.id, "plan_id": PLAN, "revision": 1, "generation": 1}
    plain, avoiding = manifest(spec, **how), manifest(spec, **how, excluded=["gpu-2", "gpu-1"])
    [term] = node_terms(avoiding)
    before = node_terms(plain)[0]["matchExpressions"] if node_terms(plain) else []
    assert term["matchExpressions"] == [*before, AVOIDS]
    assert [sorted(excluded_nodes_of(one)) for one in (plain, avoiding)] == [[], ["gpu-1", "gpu-2"]]


@given(workloads, st.sets(NODE_NAMES), st.sets(NODE_NAMES))
def test_a_manifest_is_restored_but_for_the_excluded_nodes(spec: WorkloadSpec, then: set[str], now: set[str]) -> None:
    how: dict[str, Any] = {"workload_id": spec.id, "plan_id": PLAN, "generation": 1}
    snapshot = json.loads(json.dumps(manifest(spec, **how, revision=3, excluded=then)))
    kept = json.dumps(snapshot)
    assert restored(snapshot, plan_id=PLAN, revision=4, excluded=now) == manifest(spec, **how, revision=4, excluded=now)
    assert json.dumps(snapshot) == kept
