"""The production manifests before a real API server that has Knative's CRDs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from knative.local.runtime.platform import BASE
from tests.support.kustomize import overlay
from tests.support.manifests import base

pytestmark = pytest.mark.cluster

GROUPS = ("eventing.knative.dev", "serving.knative.dev", "sources.knative.dev")


def kubectl(*arguments: str) -> str:
    done = subprocess.run(["kubectl", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def namespace() -> Iterator[None]:
    """The cluster of KUBECONFIG, with the CRDs and the namespace in place."""
    if not os.environ.get("KUBECONFIG"):
        pytest.fail("KUBECONFIG must name a disposable cluster")
    present = kubectl("get", "customresourcedefinitions", "-o", "name")
    if missing := [group for group in GROUPS if f".{group}" not in present]:
        pytest.skip(
            f"the cluster of KUBECONFIG has no Knative CRDs of {', '.join(missing)}; install Knative's CRDs there"
        )
    existed = "namespace/sentinel" in kubectl("get", "namespaces", "-o", "name").splitlines()
    if not existed:
        kubectl("apply", "-f", str(BASE / "namespace.yaml"))
    yield
    if not existed:
        kubectl("delete", "namespace", "sentinel", "--wait=false")


def test_the_api_server_accepts_every_object(namespace: None) -> None:
    answered = kubectl("apply", "--dry-run=server", "-k", str(BASE)).splitlines()
    accepted = [line for line in answered if line.endswith("(server dry run)")]
    assert len(accepted) == len(base()), "\n".join(answered)


def test_the_api_server_accepts_the_closed_component(namespace: None) -> None:
    for name in ("event-policies", "network-policy"):
        file = BASE.parent / "components" / "closed" / f"{name}.yaml"
        assert "created" in kubectl("apply", "--dry-run=server", "--validate=strict", "-f", str(file))


def test_the_api_server_accepts_the_agent_on_gpu_nodes(namespace: None, tmp_path: Path) -> None:
    applied = kubectl("apply", "--dry-run=server", "--validate=strict", "-k", str(overlay(tmp_path, "gpu-nodes")))
    assert [line for line in applied.splitlines() if line.startswith("daemonset.apps/agent ")]


def test_the_api_server_accepts_what_prometheus_collects(namespace: None, tmp_path: Path) -> None:
    if ".monitoring.coreos.com" not in kubectl("get", "customresourcedefinitions", "-o", "name"):
        pytest.skip("the cluster of KUBECONFIG has no CRDs of the Prometheus operator")
    file = str(overlay(tmp_path, "prometheus-operator"))
    applied = kubectl("apply", "--dry-run=server", "--validate=strict", "-k", file)
    kinds = {line.split(".")[0] for line in applied.splitlines() if ".monitoring.coreos.com/" in line}
    assert kinds == {"prometheusrule", "servicemonitor", "podmonitor"}


def test_the_api_server_admits_a_pod_of_the_agent(namespace: None, tmp_path: Path) -> None:
    """Admission plugins judge pods and not the DaemonSet that makes them."""
    (template,) = (one["spec"]["template"] for one in base() if one["kind"] == "DaemonSet")
    spec = template["spec"] | {"serviceAccountName": "default"}  # a dry run of the base makes no account
    metadata = template["metadata"] | {"name": "agent-test", "namespace": "sentinel"}
    file = tmp_path / "pod.yaml"
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))
    assert "pod/agent-test created" in kubectl("create", "--dry-run=server", "--validate=strict", "-f", str(file))


def test_strict_validation_finds_no_unknown_field(namespace: None) -> None:
    kubectl("apply", "--dry-run=server", "--validate=strict", "-k", str(BASE))
