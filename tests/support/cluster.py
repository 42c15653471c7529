"""Clusters for tests of functions: the stand-in Kubernetes API, and servers that answer like one in trouble."""

import base64
import http.server
import json
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from shared.clusters.directory import ClusterDirectory
from shared.clusters.driver import AppliedObject, ClusterDriver
from shared.clusters.kubeconfig import Connection
from tests.support.certificates import Authority
from tests.support.someone import PATHS, Someone


class Crash(Exception):
    """A process dies: nothing that it had not committed is kept."""


@dataclass
class Gate:
    """Where one user of a cluster is held up until it is opened."""

    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def pass_through(self) -> None:
        self.reached.set()
        assert self.opened.wait(30)


class _Dying:
    """A driver whose process dies right after the cluster took its write."""

    def __init__(self, driver: ClusterDriver) -> None:
        self._driver = driver

    def within(self, seconds: float, allowed: Callable[[], bool] | None = None) -> "_Dying":
        return _Dying(self._driver.within(seconds, allowed))

    def apply(self, *arguments: Any, **how: Any) -> AppliedObject:
        self._driver.apply(*arguments, **how)
        raise Crash

    def delete(self, *arguments: Any, **how: Any) -> bool:
        self._driver.delete(*arguments, **how)
        raise Crash


@dataclass
class Site:
    """The cluster `local` of one test: a kubeconfig that may come, go and change, and a namespace of the test's own.

    What is in gates, crashes and late_crashes happens to the next user of the cluster, once.
    """

    directory: Path
    kubeconfig: Path
    someone: Someone
    namespace: str
    gates: list[Gate] = field(default_factory=list)
    crashes: int = 0
    late_crashes: int = 0

    def __post_init__(self) -> None:
        self.directory.mkdir(exist_ok=True)
        self._clusters = ClusterDirectory(self.directory, loopback=True)
        self.come_back()

    def driver(self, name: str) -> ClusterDriver:
        """What the functions use. Raises Crash when it is time to."""
        if self.gates:
            self.gates.pop().pass_through()
        if self.crashes:
            self.crashes -= 1
            raise Crash
        driver = self._clusters.driver(name)
        if self.late_crashes:
            self.late_crashes -= 1
            return cast(ClusterDriver, _Dying(driver))
        return driver

    def go_away(self, kubeconfig: str | None = None) -> None:
        """The cluster's kubeconfig is gone, or is replaced by another text."""
        (self.directory / "local").unlink(missing_ok=True)
        if kubeconfig is not None:
            (self.directory / "local").write_text(kubeconfig)

    def come_back(self) -> None:
        self.go_away()
        shutil.copy(self.kubeconfig, self.directory / "local")

    def objects(self, kind: str) -> list[dict[str, Any]]:
        """All objects of a kind in the test's namespace, by name."""
        group = "/api/v1" if kind == "Pod" else PATHS[kind]
        items = self.someone.get(f"{group}/namespaces/{self.namespace}/{kind.lower()}s")["items"]
        return sorted(items, key=lambda item: str(item["metadata"]["name"]))

    def path(self, kind: str, name: str) -> str:
        return f"{PATHS[kind]}/namespaces/{self.namespace}/{kind.lower()}s/{name}"

    def object(self, name: str = "web", kind: str = "Deployment") -> dict[str, Any]:
        return self.someone.get(self.path(kind, name))

    def clean(self) -> None:
        namespaces = self.someone.get("/api/v1/namespaces")["items"]
        if any(found["metadata"]["name"] == self.namespace for found in namespaces):
            self.someone.delete(f"/api/v1/namespaces/{self.namespace}")


def kubeconfig_of(connection: Connection) -> str:
    """A kubeconfig for a server with its own CA."""
    authority = base64.b64encode((connection.certificate_authority or "").encode()).decode()
    return yaml.safe_dump(
        {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
            "clusters": [
                {"name": "c", "cluster": {"server": connection.server, "certificate-authority-data": authority}}
            ],
            "users": [{"name": "c", "user": {"token": connection.token or "t"}}],
        }
    )


class _Troubled(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    status = 503
    hang: threading.Event
    asked: threading.Event

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.asked.set()
        if self.status == 0:
            self.hang.wait(30)
            return
        body = json.dumps({"kind": "Status", "message": "overloaded", "code": self.status}).encode()
        self.send_response(self.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._answer()

    def do_PATCH(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Nothing: the tests look at answers."""


@dataclass
class Troubled:
    """An API server in trouble. asked: set once a request has come. release: ends the connections that hang."""

    kubeconfig: str
    asked: threading.Event
    release: threading.Event


@contextmanager
def troubled(status: int, directory: Path) -> Iterator[Troubled]:
    """Answers every request with `status`; 0 takes requests and never answers."""
    authority, hang, asked = Authority(), threading.Event(), threading.Event()
    handler = type("Handler", (_Troubled,), {"status": status, "hang": hang, "asked": asked})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    context: ssl.SSLContext = authority.server_context(directory)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        address = f"https://127.0.0.1:{server.server_address[1]}"
        yield Troubled(kubeconfig_of(Connection(address, authority.certificate.decode())), asked, hang)
    finally:
        hang.set()
        server.shutdown()
        thread.join()
        server.server_close()
