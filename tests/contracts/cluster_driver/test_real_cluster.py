"""The suite on a real, disposable Kubernetes cluster, and what only a real one can tell."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings

from shared.clusters.kubeconfig import Connection, read_connection
from shared.models.workload import WorkloadSpec
from shared.rollout.manifests import manifest
from tests.contracts.cluster_driver import suite
from tests.contracts.cluster_driver.world import World
from tests.shared.rollout.strategies import workloads

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


class TestCluster(suite.ClusterContract): ...


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spec=workloads)
def test_the_api_server_takes_whatever_the_model_takes(world: World, spec: WorkloadSpec) -> None:
    wish = manifest(spec, workload_id=spec.id, plan_id=UUID(int=1), revision=99_999, generation=1)
    wish["metadata"]["namespace"] = world.namespace
    world.driver.ensure_namespace(world.namespace)
    answer = world.transport.apply(
        world.path(wish), wish, fieldManager="sentinel", fieldValidation="Strict", force="false", dryRun="All"
    )
    assert answer.ok, answer.message
