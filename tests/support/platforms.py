"""`python -m knative.local` as a real process on temporary manifests."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.support.processes import unmeasured

FUNCTION = Path(__file__).with_name("echo_function.py")
ROOT = Path(__file__).resolve().parents[2]
BOUND_SECONDS = 120.0


def service(name: str, **env: str) -> dict[str, Any]:
    """A Service of the test function, with the database and the clusters as the real ones have them."""
    variables: list[dict[str, Any]] = [{"name": k, "value": v} for k, v in env.items()]
    secret = {"secretKeyRef": {"name": "sentinel-database", "key": "url"}}
    container = {
        "image": "test",
        "command": ["python", str(FUNCTION)],
        "env": [
            *variables,
            {"name": "DATABASE_URL", "valueFrom": secret},
            {"name": "CLUSTERS_DIR", "value": "/etc/sentinel/clusters"},
        ],
        "volumeMounts": [{"name": "clusters", "mountPath": "/etc/sentinel/clusters"}],
    }
    volumes = [{"name": "clusters", "secret": {"secretName": "sentinel-clusters"}}]
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "sentinel"},
        "spec": {"template": {"spec": {"containerConcurrency": 4, "containers": [container], "volumes": volumes}}},
    }


def trigger(function: str, kind: str, **delivery: Any) -> dict[str, Any]:
    return {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": f"{function}-on-{kind}", "namespace": "sentinel"},
        "spec": {
            "broker": "default",
            "filters": [{"exact": {"type": kind}}],
            "subscriber": {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": function}},
            "delivery": delivery,
        },
    }


BROKER = {
    "apiVersion": "eventing.knative.dev/v1",
    "kind": "Broker",
    "metadata": {
        "name": "default",
        "namespace": "sentinel",
        "annotations": {"eventing.knative.dev/broker.class": "Kafka"},
    },
}
SINK_BINDING = {
    "apiVersion": "sources.knative.dev/v1",
    "kind": "SinkBinding",
    "metadata": {"name": "b", "namespace": "sentinel"},
    "spec": {
        "subject": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "echo"},
        "sink": {"ref": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "default"}},
    },
}
KUBECONFIG = {
    "current-context": "c",
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "u", "user": {"token": "t"}}],
}


def write(directory: Path, *objects: dict[str, Any]) -> Path:
    """A kustomization of these objects, and beside it the kubeconfig of a cluster that nobody talks to."""
    directory.mkdir()
    (directory / "all.yaml").write_text(yaml.safe_dump_all([BROKER, *objects]))
    (directory / "kustomization.yaml").write_text("resources: [all.yaml]\n")
    (directory / "kubeconfig").write_text(yaml.safe_dump(KUBECONFIG))
    return directory


@dataclass(frozen=True)
class Running:
    """A platform that serves."""

    process: asyncio.subprocess.Process
    state: Path
    port: int
    output: Awaitable[str]
    """Everything that it wrote after it was up, once it has ended."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def published(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state / "platform.json").read_text())
        return found

    def children(self) -> list[psutil.Process]:
        found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return found


@asynccontextmanager
async def started(
    manifests: Path,
    state: Path,
    *more: str,
    kubeconfig: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process, which may or may not come up; killed at the end, if it is still there."""
    arguments = ["--manifests", str(manifests), "--state", str(state), "--port", "0"]
    arguments += ["--kubeconfig", str(kubeconfig or manifests / "kubeconfig"), *more]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "knative.local", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
        env=unmeasured(**(env or {})),
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def refusal(
    manifests: Path,
    state: Path,
    *more: str,
    kubeconfig: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """(exit status, output) of a platform that does not come up."""
    async with (
        asyncio.timeout(BOUND_SECONDS),
        started(manifests, state, *more, kubeconfig=kubeconfig, env=env) as process,
    ):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@asynccontextmanager
async def running(manifests: Path, state: Path) -> AsyncIterator[Running]:
    """A platform that serves; killed at the end, if it is still there."""
    async with started(manifests, state) as process:
        assert process.stdout is not None
        said = b""
        async with asyncio.timeout(BOUND_SECONDS):
            while b"Ctrl-C" not in said:
                line = await process.stdout.readline()
                assert line, f"the platform did not come up: {said.decode()}"
                said += line
        output = asyncio.create_task(_text(process.stdout))
        yield Running(process, state, json.loads((state / "platform.json").read_text())["port"], output)
    await output


async def _text(stream: asyncio.StreamReader) -> str:
    return (await stream.read()).decode()


async def stop(platform: Running, number: signal.Signals) -> int:
    """Sends the signal and waits; the exit status."""
    platform.process.send_signal(number)
    async with asyncio.timeout(BOUND_SECONDS):
        return await platform.process.wait()


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
