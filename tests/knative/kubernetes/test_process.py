"""The stand-in as a process: what it announces, what it keeps, and when it refuses to start."""

import json
import os
import select
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.contracts.kubernetes_api.api import Api, Home, Object, config_map, deployment, job
from tests.support.processes import unmeasured

pytestmark = pytest.mark.slow


def _command(state: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "knative.local.kubernetes", "--state", str(state), *arguments]


@contextmanager
def _running(state: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], Api]]:
    with subprocess.Popen(_command(state, *arguments), stdout=subprocess.PIPE, env=unmeasured()) as process:
        assert process.stdout is not None
        try:
            yield process, Api(Path(json.loads(process.stdout.readline())["kubeconfig"]))
        finally:
            process.kill()


def _ready(home: Home, name: str) -> None:
    home.wait_for("deployments", name, lambda obj: obj is not None and obj["status"].get("readyReplicas"))


def _all_succeeded(obj: Object | None) -> bool:
    return obj is not None and obj["status"].get("succeeded") == 20


def test_what_was_answered_survives_sigkill(tmp_path: Path) -> None:
    with _running(tmp_path) as (process, api):
        home = Home(api, "default")
        written = [home.create("configmaps", config_map(f"item-{index}")).body for index in range(50)]
        home.apply("deployments", deployment("web", replicas=2))
        _ready(home, "web")
        home.delete("configmaps", "item-0")
        last = home.get("deployments", "web").body
        process.kill()
    with _running(tmp_path) as (_, api):
        home = Home(api, "default")
        kept = home.api("GET", home.path("configmaps"), limit="100").body
        assert [item["metadata"]["uid"] for item in kept["items"]] == [
            item["metadata"]["uid"] for item in sorted(written[1:], key=lambda item: str(item["metadata"]["name"]))
        ]
        again = home.get("deployments", "web").body
        assert again["metadata"]["resourceVersion"] == last["metadata"]["resourceVersion"]
        fresh = home.create("configmaps", config_map("later")).body["metadata"]["resourceVersion"]
        assert int(fresh) > int(last["metadata"]["resourceVersion"])
        home.merge("deployments", "web", {"spec": {"replicas": 3}})
        home.wait_for("deployments", "web", lambda obj: obj is not None and obj["status"].get("readyReplicas") == 3)


def test_work_that_was_cut_off_is_taken_up_again(tmp_path: Path) -> None:
    with _running(tmp_path) as (process, api):
        Home(api, "default").create("jobs", job("batch", parallelism=5, completions=20))
        process.kill()
    with _running(tmp_path) as (_, api):
        Home(api, "default").wait_for("jobs", "batch", _all_succeeded)


def test_a_watch_cannot_resume_from_before_a_restart_that_forgot_it(tmp_path: Path) -> None:
    with _running(tmp_path) as (process, api):
        home = Home(api, "default")
        home.create("configmaps", config_map("one"))
        home.create("configmaps", config_map("two"))
        version = home.get("configmaps", "one").body["metadata"]["resourceVersion"]
        process.kill()
    with _running(tmp_path) as (_, api):
        home = Home(api, "default")
        with api.watch(home.path("configmaps"), resourceVersion=version) as events:
            (event,) = list(events)
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")


def test_secrets_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    with _running(tmp_path):
        for name in ("kubeconfig", "token", "server.pem"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_a_fresh_platform_has_a_gpu_fleet_and_an_empty_one_has_none(tmp_path: Path) -> None:
    with _running(tmp_path / "fleet") as (_, api):
        nodes = api("GET", "/api/v1/nodes").body["items"]
        products = sorted(
            (node["metadata"]["labels"]["nvidia.com/gpu.product"], node["status"]["allocatable"]["nvidia.com/gpu"])
            for node in nodes
        )
        assert products == [
            *[("NVIDIA-A100-SXM4-80GB", "8")] * 2,
            *[("NVIDIA-H100-80GB-HBM3", "8")] * 2,
            *[("NVIDIA-L4", "4")] * 4,
        ]
        assert {node["metadata"]["labels"]["topology.kubernetes.io/region"] for node in nodes} == {"local"}
    with _running(tmp_path / "empty", "--nodes", "none") as (_, api):
        assert api("GET", "/api/v1/nodes").body["items"] == []


def test_a_node_that_a_client_makes_becomes_ready_and_takes_the_pods_that_waited(tmp_path: Path) -> None:
    with _running(tmp_path, "--nodes", "none") as (_, api):
        home = Home(api, "default")
        home.apply("deployments", deployment("web"))
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "late", "labels": {"a": "b"}}}
        assert api("POST", "/api/v1/nodes", node).code == 201
        amounts = {"cpu": "8", "memory": "64Gi", "pods": "110"}
        change = {"status": {"capacity": amounts, "allocatable": amounts}}
        assert api("PATCH", "/api/v1/nodes/late/status", change, "application/merge-patch+json").code == 200
        _ready(home, "web")
        conditions = api("GET", "/api/v1/nodes/late").body["status"]["conditions"]
        assert {c["type"]: c["status"] for c in conditions}["Ready"] == "True"


def test_a_second_process_on_the_same_state_is_told_so(tmp_path: Path) -> None:
    with _running(tmp_path):
        second = subprocess.run(_command(tmp_path), capture_output=True, text=True, timeout=30)
    assert second.returncode == 1
    assert "is in use by another process" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_taken_port_is_told_so(tmp_path: Path) -> None:
    with _running(tmp_path / "first") as (_, api):
        port = api.server.rpartition(":")[2]
        second = subprocess.run(
            _command(tmp_path / "second", "--port", port), capture_output=True, text=True, timeout=30
        )
    assert second.returncode == 1
    assert "address already in use" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of a parent's death on Linux only")
def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    """A parent that starts the stand-in, hands on its announcement and ends without a word to it."""
    parent = (
        "import os, subprocess, sys\n"
        "os.environ['SENTINEL_PARENT_PID'] = str(os.getpid())\n"
        f"child = subprocess.Popen({_command(tmp_path)!r}, stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print(child.pid, flush=True)\n"
        "os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", parent], stdout=subprocess.PIPE, timeout=30, check=True)
    child = int(done.stdout)
    descriptor = -1
    try:
        descriptor = os.pidfd_open(child)
        assert select.select([descriptor], [], [], 20)[0], "the stand-in outlived its parent"
    except ProcessLookupError:
        pass
    finally:
        if descriptor >= 0:
            os.close(descriptor)
