"""The ApiServerSource against a small API server over real HTTPS."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from knative.local.broker.wire import Record
from knative.local.resources.manifests import ApiServerSource
from knative.local.sources import apiserver
from knative.local.sources.apiserver import WatchedKind
from tests.support.certificates import Authority
from tests.support.subscribers import eventually

DEPLOYMENTS = WatchedKind("apps/v1", "Deployment", None, {"app.kubernetes.io/managed-by": "sentinel"})
TOKEN = "Bearer let-me-in"


class ApiServer:
    """Lists nothing but a resourceVersion, and watches what `tell` is called with."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[dict[str, str]] = []
        self.version = "10"
        self.refuse_watch_with: int | None = None
        self._watch: web.StreamResponse | None = None

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("authorization") != TOKEN:
            return web.Response(status=401)
        self.requests.append({"path": request.path, **request.query})
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": self.version}, "items": [{"ignored": True}]})
        if (status := self.refuse_watch_with) is not None:
            self.refuse_watch_with = None
            return web.Response(status=status)
        response = web.StreamResponse()
        await response.prepare(request)
        self._watch = response
        while self._watch is response:
            await asyncio.sleep(0.01)
        return response

    async def watching(self) -> None:
        await eventually(lambda: self._watch is not None)

    def hang_up(self) -> None:
        """Ends the watch."""
        self._watch = None

    async def tell(self, change: str, name: str, version: str) -> None:
        metadata = {"name": name, "namespace": "search", "resourceVersion": version}
        await self.write(
            {"type": change, "object": {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": metadata}}
        )

    async def write(self, event: object) -> None:
        assert self._watch is not None, "nobody watches"
        line = json.dumps(event).encode() + b"\n"
        await self._watch.write(line[:10])
        await self._watch.write(line[10:])


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    authority, found = Authority(), ApiServer()
    runner = web.ServerRunner(web.Server(found.handle, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.server_context(tmp_path)).start()
    found.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    cluster = {"server": found.url, "certificate-authority-data": base64.b64encode(authority.certificate).decode()}
    kubeconfig = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": TOKEN.removeprefix("Bearer ")}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    yield found
    found.hang_up()
    await runner.cleanup()


@asynccontextmanager
async def watching(kubeconfig: Path) -> AsyncIterator[asyncio.Queue[Record]]:
    """The source runs; what it sends is in the queue."""
    sent: asyncio.Queue[Record] = asyncio.Queue()
    task = asyncio.create_task(apiserver.watch(kubeconfig, DEPLOYMENTS, sent.put))
    try:
        yield sent
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def received(queue: asyncio.Queue[Record]) -> Record:
    async with asyncio.timeout(20):
        return await queue.get()


@pytest.mark.parametrize(("change", "kind"), [("ADDED", "add"), ("MODIFIED", "update"), ("DELETED", "delete")])
async def test_a_change_is_told_by_reference(server: ApiServer, tmp_path: Path, change: str, kind: str) -> None:
    async with watching(tmp_path / "kubeconfig") as queue:
        await server.watching()
        await server.tell(change, "web", "11")
        record = await received(queue)
    assert {name: value for name, value in record.attributes.items() if name not in ("id", "time")} == {
        "specversion": "1.0",
        "type": f"dev.knative.apiserver.ref.{kind}",
        "source": server.url,
        "subject": "/apis/apps/v1/namespaces/search/deployments/web",
        "datacontenttype": "application/json",
        "apiversion": "apps/v1",
        "kind": "Deployment",
        "name": "web",
        "namespace": "search",
    }
    assert json.loads(record.data or b"") == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "web",
        "namespace": "search",
    }


async def test_the_list_tells_of_nothing_and_the_watch_starts_where_it_ended(server: ApiServer, tmp_path: Path) -> None:
    async with watching(tmp_path / "kubeconfig") as queue:
        await server.watching()
        assert queue.empty()
    listed, watched = server.requests
    assert listed["path"] == watched["path"] == "/apis/apps/v1/deployments"
    assert listed["labelSelector"] == watched["labelSelector"] == "app.kubernetes.io/managed-by=sentinel"
    assert watched["resourceVersion"] == "10"


async def test_a_watch_that_ends_is_resumed_where_it_was(server: ApiServer, tmp_path: Path) -> None:
    async with watching(tmp_path / "kubeconfig") as queue:
        await server.watching()
        await server.tell("ADDED", "a", "11")
        await received(queue)
        await server.write({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "15"}}})
        server.hang_up()
        await server.watching()
        await server.tell("ADDED", "b", "16")
        assert (await received(queue)).attributes["name"] == "b"
    assert [each.get("resourceVersion") for each in server.requests] == [None, "10", "15"]


@pytest.mark.parametrize("in_the_stream", [True, False])
async def test_a_version_that_is_too_old_lists_again(server: ApiServer, tmp_path: Path, in_the_stream: bool) -> None:
    if not in_the_stream:
        server.refuse_watch_with = 410
    async with watching(tmp_path / "kubeconfig"):
        if in_the_stream:
            await server.watching()
            server.version = "20"
            await server.write({"type": "ERROR", "object": {"code": 410, "message": "too old"}})
        else:
            server.version = "10"
        await eventually(lambda: len(server.requests) == 4)
    expected = "20" if in_the_stream else "10"
    assert [each.get("resourceVersion") for each in server.requests] == [None, "10", None, expected]


async def test_errors_are_tried_again_and_said_once(server: ApiServer, tmp_path: Path, lines: io.StringIO) -> None:
    server.refuse_watch_with = 500
    async with watching(tmp_path / "kubeconfig") as queue:
        await server.watching()
        await server.tell("ADDED", "a", "11")
        await received(queue)
    assert lines.getvalue().count("broke off") == 1


def source(**spec: object) -> ApiServerSource:
    sink = {"ref": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "default"}}
    resources = [{"apiVersion": "batch/v1", "kind": "Job", "selector": {"matchLabels": {"a": "b", "c": "d"}}}]
    fields = {"metadata": {"name": "s", "namespace": "n"}, "spec": {"resources": resources, "sink": sink, **spec}}
    return ApiServerSource.model_validate(fields)


def test_without_a_selector_only_the_source_s_own_namespace_is_watched() -> None:
    assert apiserver.watched_kinds(source())[0].path == "/apis/batch/v1/namespaces/n/jobs"
    assert apiserver.watched_kinds(source(namespaceSelector={}))[0].path == "/apis/batch/v1/jobs"


def test_labels_are_one_selector() -> None:
    assert apiserver.watched_kinds(source())[0].query(limit="1") == "labelSelector=a%3Db%2Cc%3Dd&limit=1"


@pytest.mark.parametrize(
    ("kind", "resource"), [("Pod", "pods"), ("Ingress", "ingresses"), ("NetworkPolicy", "networkpolicies")]
)
def test_resources_are_named_as_the_adapter_names_them(kind: str, resource: str) -> None:
    assert apiserver.plural(kind) == resource


def test_the_core_group_has_its_own_root() -> None:
    assert WatchedKind("v1", "Pod", None, {}).path == "/api/v1/pods"
