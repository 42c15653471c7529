"""The suite on the stand-in Kubernetes API, in a process of its own as the laptop platform runs it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.clusters.kubeconfig import Connection, read_connection
from shared.processes import PARENT_PID
from tests.contracts.cluster_driver import suite
from tests.contracts.cluster_driver.world import World
from tests.support.processes import unmeasured


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    state = tmp_path_factory.mktemp("kubernetes")
    command = [sys.executable, "-m", "knative.local.kubernetes", "--state", str(state)]
    environment = unmeasured(**{PARENT_PID: str(os.getpid())})
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            yield read_connection(Path(json.loads(process.stdout.readline())["kubeconfig"]))
        finally:
            process.terminate()


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
