"""What people see of the stand-in: the commands of kubectl that users of Sentinel type."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import pytest
import yaml

from tests.contracts.kubernetes_api.api import Api, config_map, deployment, job, pod, stateful_set

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on the PATH"),
]


@dataclass(frozen=True)
class Kubectl:
    api: Api
    namespace: str

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return ["kubectl", "--kubeconfig", str(self.api.kubeconfig), "--namespace", self.namespace, *arguments]

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(self._command(arguments), input=stdin, capture_output=True, text=True, timeout=60)

    def __call__(self, *arguments: str, stdin: str = "") -> str:
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def follow(self, *arguments: str) -> Iterator[IO[str]]:
        """The output of a command that does not end by itself."""
        with subprocess.Popen(self._command(arguments), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            yield process.stdout
            process.terminate()

    def apply(self, *objects: object) -> str:
        return self("apply", "--server-side", "--field-manager=sentinel", "-f", "-", stdin=_documents(*objects))

    def rows(self, *arguments: str) -> list[list[str]]:
        """The cells of a table, the header first."""
        return [line.split() for line in self("get", *arguments).splitlines() if line]


def _documents(*objects: object) -> str:
    text: str = yaml.safe_dump_all(objects)
    return text


@pytest.fixture
def kubectl(stand_in: Api) -> Iterator[Kubectl]:
    name = f"kubectl-{os.urandom(4).hex()}"
    tool = Kubectl(stand_in, name)
    tool.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield tool
    tool("delete", "namespace", name, "--wait=false")


def test_version_and_resources(kubectl: Kubectl) -> None:
    assert json.loads(kubectl("version", "-o", "json"))["serverVersion"]["major"] == "1"
    resources = kubectl("api-resources", "--no-headers", "-o", "name").split()
    assert {"deployments.apps", "jobs.batch", "statefulsets.apps", "pods", "nodes", "namespaces"} <= set(resources)


def test_get_shows_the_columns_that_users_know(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", replicas=2), stateful_set("db", 1), job("batch", "fate.test/never-ready"))
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    kubectl("rollout", "status", "statefulset/db", "--timeout=30s")
    assert kubectl.rows("deployments")[0] == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert kubectl.rows("deployments")[1][:4] == ["web", "2/2", "2", "2"]
    assert kubectl.rows("statefulsets")[1][:2] == ["db", "1/1"]
    assert kubectl.rows("jobs")[0] == ["NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"]
    assert kubectl.rows("jobs")[1][:3] == ["batch", "Running", "0/1"]
    assert kubectl.rows("pods")[0] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert [row[:4] for row in kubectl.rows("pods", "db-0")[1:]] == [["db-0", "1/1", "Running", "0"]]
    assert kubectl.rows("nodes")[0] == ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]
    assert {row[1] for row in kubectl.rows("nodes")[1:]} == {"Ready"}
    everything = kubectl("get", "deployments,pods,jobs,statefulsets,nodes", "-A")
    assert all(f"{word}" in everything for word in ("deployment.apps/web", "job.batch/batch", "statefulset.apps/db"))


def test_get_by_label_and_by_field(kubectl: Kubectl) -> None:
    kubectl.apply(pod("one"), pod("two", nodeSelector={"no": "such-node"}))
    kubectl("label", "pod", "one", "colour=red")
    assert kubectl("get", "pods", "-l", "colour=red", "-o", "name").split() == ["pod/one"]
    assert kubectl("get", "pods", "--field-selector", "status.phase=Pending", "-o", "name").split() == ["pod/two"]


def test_get_watch_follows_a_rollout(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", "fate.test/never-ready"))
    with kubectl.follow("get", "deployments", "-w") as output:
        assert output.readline().split()[:2] == ["NAME", "READY"]
        assert output.readline().split()[0] == "web"
        kubectl("scale", "deployment/web", "--replicas=0")
        ready = iter(lambda: output.readline().split()[1], "0/0")
        assert set(ready) <= {"0/1"}


def test_describe_tells_conditions_and_events(kubectl: Kubectl) -> None:
    big = pod("big")
    big["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "99"}}
    kubectl.apply(deployment("web"), stateful_set("db", 1), job("batch"), big)
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    described = kubectl("describe", "deployment", "web")
    assert "MinimumReplicasAvailable" in described
    assert "ScalingReplicaSet" in described
    waiting = kubectl("describe", "pod", "big")
    assert "FailedScheduling" in waiting
    assert "Insufficient nvidia.com/gpu" in waiting
    assert "Update Strategy" in kubectl("describe", "statefulset", "db")
    assert "Completions" in kubectl("describe", "job", "batch")
    name = kubectl("get", "nodes", "-o", "name").split()[0]
    assert "nvidia.com/gpu" in kubectl("describe", name)


def test_apply_conflicts_after_a_scale_and_force_takes_over(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web"))
    kubectl("scale", "deployment/web", "--replicas=3")
    refused = kubectl.run(
        "apply", "--server-side", "--field-manager=sentinel", "-f", "-", stdin=_documents(deployment("web"))
    )
    assert refused.returncode != 0
    assert 'conflict with "kubectl" with subresource "scale"' in refused.stderr
    forced = ("apply", "--server-side", "--field-manager=sentinel", "--force-conflicts", "-f", "-")
    kubectl(*forced, stdin=_documents(deployment("web")))
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "1"


def test_apply_can_be_tried_and_checks_its_fields(kubectl: Kubectl) -> None:
    kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=_documents(deployment("web")))
    assert "web" not in kubectl("get", "deployments")
    wrong = kubectl.run("apply", "--server-side", "-f", "-", stdin=_documents(deployment("web", bogus=1)))
    assert ".spec.bogus: field not declared in schema" in wrong.stderr
    unknown = kubectl.run("create", "-f", "-", stdin=_documents(deployment("web", bogus=1)))
    assert 'unknown field "spec.bogus"' in unknown.stderr


def test_client_side_apply_works_too(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=_documents(deployment("web", replicas=0)))
    kubectl("apply", "-f", "-", stdin=_documents(deployment("web", "fate.test/ready:2", 0)))
    path = "jsonpath={.spec.template.spec.containers[0].image}"
    assert kubectl("get", "deployment", "web", "-o", path) == "fate.test/ready:2"


@pytest.mark.parametrize("cascade", ["background", "foreground", "orphan"])
def test_delete_waits_until_it_is_done(kubectl: Kubectl, cascade: str) -> None:
    kubectl.apply(deployment("web"))
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    kubectl("delete", "deployment", "web", f"--cascade={cascade}", "--wait", "--timeout=30s")
    assert kubectl("get", "deployments", "-o", "name") == ""
    if cascade == "orphan":
        assert len(kubectl("get", "replicasets", "-o", "name").split()) == 1
    else:
        kubectl("wait", "pods", "--all", "--for=delete", "--timeout=30s")


def test_logs_say_that_there_are_none(kubectl: Kubectl) -> None:
    kubectl.apply(pod("one"))
    refused = kubectl.run("logs", "one")
    assert refused.returncode == 1
    assert 'pod "one" has no logs: the pods of the laptop platform run no containers' in refused.stderr
    assert "not found" in kubectl.run("logs", "none").stderr


def test_objects_are_created_from_files(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=_documents(config_map("settings"), deployment("web", replicas=2)))
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    assert kubectl("get", "configmap", "settings", "-o", "jsonpath={.data.a}") == "b"


def test_a_create_command_that_sends_protobuf_is_refused_with_advice_that_works(kubectl: Kubectl) -> None:
    command = ("create", "deployment", "web", "--image=fate.test/ready")
    refused = kubectl.run(*command)
    assert refused.returncode == 1
    assert "--dry-run=client -o yaml | kubectl apply -f -" in refused.stderr
    kubectl("apply", "-f", "-", stdin=kubectl(*command, "--dry-run=client", "-o", "yaml"))
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")


def test_a_rollout_can_be_restarted_and_its_history_is_shown(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web"), stateful_set("db", 1))
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    for name in ("deployment/web", "statefulset/db"):
        kubectl("rollout", "restart", name)
        kubectl("rollout", "status", name, "--timeout=30s")
    assert [line.split()[0] for line in kubectl("rollout", "history", "deployment/web").splitlines()[2:] if line] == [
        "1",
        "2",
    ]


def test_a_rollout_can_be_undone(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web"))
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    kubectl("set", "image", "deployment/web", "main=fate.test/never-ready")
    kubectl("rollout", "undo", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    path = "jsonpath={.spec.template.spec.containers[0].image}"
    assert kubectl("get", "deployment", "web", "-o", path) == "fate.test/ready"


def test_a_cordoned_node_takes_no_pods(kubectl: Kubectl) -> None:
    node = kubectl("get", "nodes", "-o", "name").split()[0]
    kubectl("cordon", node)
    try:
        kubectl.apply(pod("one", nodeSelector={"kubernetes.io/hostname": node.partition("/")[2]}))
        kubectl("wait", "pod/one", "--for=condition=PodScheduled=false", "--timeout=30s")
        assert "1 node(s) were unschedulable" in kubectl("describe", "pod", "one")
    finally:
        kubectl("uncordon", node)
    kubectl("wait", "pod/one", "--for=condition=Ready", "--timeout=30s")
