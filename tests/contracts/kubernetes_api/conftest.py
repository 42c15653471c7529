"""The two servers that the suite runs against, and a namespace for each test."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.kubernetes_api.api import Api, Home
from tests.support.processes import unmeasured


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    state = tmp_path_factory.mktemp("kubernetes")
    command = [sys.executable, "-m", "knative.local.kubernetes", "--state", str(state)]
    environment = unmeasured(SENTINEL_PARENT_PID=str(os.getpid()))
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        announced = json.loads(process.stdout.readline())
        yield Api(Path(announced["kubeconfig"]))
        process.terminate()


@pytest.fixture(params=["stand-in", pytest.param("real", marks=pytest.mark.cluster)])
def api(request: pytest.FixtureRequest) -> Api:
    if request.param == "stand-in":
        served: Api = request.getfixturevalue("stand_in")
        return served
    kubeconfig: Path = request.getfixturevalue("real_cluster")
    return Api(kubeconfig)


@pytest.fixture
def home(api: Api) -> Iterator[Home]:
    name = f"contract-{uuid.uuid4().hex[:10]}"
    created = api("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    assert created.code == 201, created
    if not api.is_stand_in:  # a real cluster makes pods once the namespace has its service account
        api.wait_for(f"/api/v1/namespaces/{name}/serviceaccounts", "default", lambda account: account is not None)
    yield Home(api, name)
    api("DELETE", f"/api/v1/namespaces/{name}")
