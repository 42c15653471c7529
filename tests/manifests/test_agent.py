"""The agent of GPU nodes in the production manifests: what it runs as, what it may reach, and where it goes."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from events import CATALOGUE
from events.telemetry import GpuFault, TelemetryGpu
from knative.local.resources import loader
from knative.local.resources.loader import Name
from knative.local.runtime import secrets
from knative.local.runtime.platform import BASE
from tests.support.kustomize import rendered
from tests.support.manifests import base, read

COMPONENTS = BASE.parent / "components"
POD_RESOURCES = "/var/lib/kubelet/pod-resources"
STATE = "/var/lib/sentinel/agent"


def daemon_set() -> dict[str, Any]:
    (found,) = (document for document in base() if document["kind"] == "DaemonSet")
    return found


def pod() -> dict[str, Any]:
    found: dict[str, Any] = daemon_set()["spec"]["template"]["spec"]
    return found


def test_the_sink_binding_gives_the_agent_the_broker() -> None:
    manifests = loader.load(BASE, secrets.SUPPLIED)
    binding = manifests.sink_bindings[Name("sentinel", "agent")]
    assert (binding.spec.subject.kind, binding.spec.subject.name) == ("DaemonSet", "agent")
    assert list(manifests.daemon_sets) == [Name("sentinel", "agent")]


def test_its_account_may_do_nothing_and_has_no_token() -> None:
    (account,) = (
        one for one in base() if one["kind"] == "ServiceAccount" and one["metadata"]["name"] == "sentinel-agent"
    )
    assert pod()["serviceAccountName"] == "sentinel-agent"
    assert (account["automountServiceAccountToken"], pod()["automountServiceAccountToken"]) == (False, False)
    bindings = [one for one in base() if one["kind"] in ("RoleBinding", "ClusterRoleBinding")]
    assert "sentinel-agent" not in [subject["name"] for one in bindings for subject in one["subjects"]]


def test_it_has_no_privilege_but_the_socket_of_the_kubelet_and_a_directory_of_its_own() -> None:
    assert not [field for field in pod() if field.startswith("host")]
    (container,) = pod()["containers"]
    assert container["securityContext"] == {
        "runAsUser": 0,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in pod()["volumes"]}
    assert set(paths.values()) == {POD_RESOURCES, STATE}
    mounts = {paths[mount["name"]]: mount for mount in container["volumeMounts"]}
    assert mounts[POD_RESOURCES]["readOnly"] is True
    assert all(path == mount["mountPath"] for path, mount in mounts.items())


def test_it_is_pinned_and_bounded() -> None:
    (container,) = pod()["containers"]
    assert container["image"] == "sentinel/agent:0.1.0"
    assert container["command"] == ["python", "-m", "agent"]
    assert set(container["resources"]["limits"]) == {"cpu", "memory"}
    assert container["ports"] == [{"name": "metrics", "containerPort": 9400}]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on the PATH")
def test_the_component_keeps_it_to_gpu_nodes_and_gives_it_their_devices() -> None:
    documents = rendered("gpu-nodes")
    assert len(documents) == len(base())
    (found,) = (one for one in documents if one["kind"] == "DaemonSet")
    spec = found["spec"]["template"]["spec"]
    assert spec["runtimeClassName"] == "nvidia"
    assert spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert [each["key"] for each in spec["tolerations"]] == ["nvidia.com/gpu"]
    (container,), (before,) = spec["containers"], pod()["containers"]
    env = {one["name"]: one for one in container.pop("env")}
    assert env.pop("NVIDIA_VISIBLE_DEVICES")["value"] == "all"
    assert env.pop("NVIDIA_DRIVER_CAPABILITIES")["value"] == "utility"
    assert list(env.values()) == before.pop("env")
    assert container == before


def test_the_closed_component_lets_it_send_telemetry_and_faults_under_its_own_sources() -> None:
    policies = read(COMPONENTS / "closed" / "event-policies.yaml")
    (spec,) = (one["spec"] for one in policies if one["metadata"]["name"] == "agent")
    sources, types = spec["filters"]
    assert sources == {"prefix": {"source": "/sentinel/agents/"}}
    allowed = {one["exact"]["type"] for one in types["any"]}
    assert allowed == {CATALOGUE.name_of(declared) for declared in (TelemetryGpu, GpuFault)}


def test_the_closed_component_lets_a_prometheus_scrape_it() -> None:
    policies = read(COMPONENTS / "closed" / "network-policy.yaml")
    (policy,) = (one["spec"] for one in policies if one["metadata"]["name"] == "agent-metrics")
    labels = daemon_set()["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"] == labels
    (rule,) = policy["ingress"]
    assert rule["ports"] == [{"port": "metrics"}]
