"""The production manifests before a real API server that has Knative's CRDs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from knative.local.runtime.platform import BASE
from tests.manifests.test_base import raw

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
    assert len(accepted) == len(raw()), "\n".join(answered)


def test_the_api_server_accepts_the_closed_component(namespace: None) -> None:
    policies = BASE.parent / "components" / "closed" / "event-policies.yaml"
    assert "created" in kubectl("apply", "--dry-run=server", "--validate=strict", "-f", str(policies))


def test_strict_validation_finds_no_unknown_field(namespace: None) -> None:
    kubectl("apply", "--dry-run=server", "--validate=strict", "-k", str(BASE))
