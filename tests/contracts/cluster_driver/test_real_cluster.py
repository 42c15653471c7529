"""The suite on a real, disposable Kubernetes cluster, and what only a real one can tell."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings

from shared.clusters.kubeconfig import Connection, read_connection
from shared.models.deployment import OwnedField
from shared.models.workload import WorkloadSpec
from shared.rollout.manifests import manifest
from shared.rollout.verdict import State
from tests.contracts.cluster_driver import suite
from tests.contracts.cluster_driver.world import World, eventually
from tests.support.strategies import workloads

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def connection(real_cluster: Path) -> Connection:
    return read_connection(real_cluster)


@pytest.fixture
def world(connection: Connection) -> Iterator[World]:
    with World(connection) as found:
        yield found


class TestApply(suite.ApplyContract): ...


class TestInterrupted(suite.InterruptedContract): ...


class TestDelete(suite.DeleteContract): ...


class TestObservation(suite.ObservationContract): ...


class TestGpuNodes(suite.GpuNodeContract): ...


class TestIdentity(suite.IdentityContract): ...


class TestMany(suite.ManyContract): ...


class TestRefusedPods(suite.RefusedPodsContract): ...


class TestCluster(suite.ClusterContract): ...


@pytest.mark.parametrize("kind", ["inference", "stateful", "batch"])
def test_pods_that_a_quota_refuses_are_explained_before_the_deadline(world: World, kind: str) -> None:
    desired = world.manifest(type=kind, resources={"cpu": "4"})
    world.driver.ensure_namespace(world.namespace)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"cpu": "1"}}}
    quotas = f"/api/v1/namespaces/{world.namespace}/resourcequotas"
    world.someone.create(quotas, quota)
    eventually(lambda: world.someone.get(f"{quotas}/q"), lambda live: bool(live.get("status", {}).get("hard")))
    world.driver.apply(desired)
    found = eventually(lambda: world.verdict(desired), lambda verdict: verdict.reason != "Progressing")
    assert (found.state, found.reason) == (State.PROGRESSING, "FailedCreate")
    assert "exceeded quota: q, requested: cpu=4" in found.message


@pytest.mark.parametrize("replicas", [{"min": 2, "max": 6}, 2])
def test_a_horizontal_pod_autoscaler_keeps_the_replicas_that_it_has_chosen(world: World, replicas: Any) -> None:
    desired = world.manifest(replicas=replicas, resources={"cpu": "10m"})
    world.driver.apply(desired)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    scaler = {"scaleTargetRef": target, "minReplicas": 4, "maxReplicas": 6}
    path = f"/apis/autoscaling/v2/namespaces/{world.namespace}/horizontalpodautoscalers"
    world.someone.create(path, {"metadata": {"name": "web"}, "spec": scaler})
    eventually(lambda: world.live(desired)["spec"]["replicas"], lambda count: count == 4)
    changed = world.manifest(2, replicas=replicas, resources={"cpu": "10m"}, image="fate.test/ready:2")
    applied = world.driver.apply(changed)
    world.wait_for(changed, State.HEALTHY)
    assert world.live(changed)["spec"]["replicas"] == 4
    scaled_by = OwnedField(".spec.replicas", "kube-controller-manager")
    assert applied.left == (() if isinstance(replicas, dict) else (scaled_by,))


IGNORES_DRAINED_NODES = {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]}


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, State.UNHEALTHY),
        ({"podFailurePolicy": IGNORES_DRAINED_NODES}, State.PROGRESSING),
        ({"backoffLimit": 1}, State.PROGRESSING),
    ],
    ids=["by default", "ignored", "one retry"],
)
def test_a_pod_that_is_lost_with_its_node_fails_a_job_that_does_not_say_otherwise(
    world: World, fields: dict[str, Any], state: State
) -> None:
    desired = world.manifest(type="training", image="fate.test/never-ready", replicas=2, **fields)
    world.driver.apply(desired)
    eventually(lambda: world.verdict(desired), lambda seen: seen.reason == "Running")
    pods = f"/api/v1/namespaces/{world.namespace}/pods"
    first = {one["metadata"]["name"]: one["metadata"]["uid"] for one in world.someone.get(pods)["items"]}
    name = min(first)
    # What a kubelet writes when its node shuts down. The simulated nodes do not end the pods that are evicted.
    lost = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}
    world.someone.patch(f"{pods}/{name}/status", {"status": {"phase": "Failed", "conditions": [lost]}})

    def look() -> tuple[State, bool]:
        running = [one for one in world.someone.get(pods)["items"] if one["status"].get("phase") == "Running"]
        replaced = {one["metadata"]["uid"] for one in running} - set(first.values())
        return world.verdict(desired, started=True).state, bool(replaced)

    found, replaced = eventually(look, lambda seen: seen[0] is State.UNHEALTHY or seen[1])
    assert (found, replaced) == (state, state is State.PROGRESSING)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spec=workloads)
def test_the_api_server_takes_whatever_the_model_takes(world: World, spec: WorkloadSpec) -> None:
    desired = manifest(spec, workload_id=spec.id, plan_id=UUID(int=1), revision=99_999, generation=1)
    desired["metadata"]["namespace"] = world.namespace
    world.driver.ensure_namespace(world.namespace)
    answer = world.transport.apply(
        world.path(desired), desired, fieldManager="sentinel", fieldValidation="Strict", force="false", dryRun="All"
    )
    assert answer.ok, answer.message
