"""A Kubernetes API over plain HTTPS, and the objects that the suite sends to it."""

import base64
import json
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
import yaml

Object = dict[str, Any]

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
SECONDS = 30


@dataclass(frozen=True)
class Answer:
    code: int
    body: Any
    warning: str

    @property
    def reason(self) -> str:
        return str(self.body.get("reason", ""))

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))

    @property
    def causes(self) -> list[tuple[str, str]]:
        """(reason, field) of each cause."""
        return [(cause["reason"], cause.get("field", "")) for cause in self.body.get("details", {}).get("causes", [])]


class Api:
    """`api(method, path, body, media, **query)`: `media` is the content type of the body."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        config = yaml.safe_load(kubeconfig.read_text())
        context = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
        cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == context["cluster"])
        user = next(u["user"] for u in config["users"] if u["name"] == context["user"])
        self.server: str = cluster["server"]
        self.token: str = user.get("token", "")
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        tls = ssl.create_default_context(cadata=authority)
        if "client-certificate-data" in user:
            with _files(user["client-certificate-data"], user["client-key-data"]) as (certificate, key):
                tls.load_cert_chain(certificate, key)
        self._pool = urllib3.PoolManager(ssl_context=tls, maxsize=4)

    @property
    def is_stand_in(self) -> bool:
        return str(self("GET", "/version").body["gitVersion"]).endswith("+sentinel")

    def __call__(
        self, method: str, path: str, body: Any = None, media: str = "application/json", /, **query: str
    ) -> Answer:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        response = self._pool.request(
            method, self._url(path, query), body=data, headers=self._headers(media), timeout=30, retries=False
        )
        try:
            parsed = json.loads(response.data)
        except ValueError:
            parsed = {"text": response.data.decode()}
        return Answer(response.status, parsed, response.headers.get("Warning", ""))

    def _url(self, path: str, query: dict[str, str]) -> str:
        # Names that are Python words, as `continue`, are passed with an underscore behind.
        options = {name.rstrip("_"): value for name, value in query.items()}
        return f"{self.server}{path}" + (f"?{urlencode(options)}" if options else "")

    def _headers(self, media: str) -> dict[str, str]:
        headers = {"Content-Type": media, "User-Agent": "contract/1"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        return headers

    @contextmanager
    def watch(self, path: str, **query: str) -> Iterator[Iterator[Object]]:
        """The events of a watch, until the server ends it."""
        options = {"watch": "1", "timeoutSeconds": str(SECONDS)} | query
        headers = self._headers("application/json")
        response = self._pool.request(
            "GET", self._url(path, options), headers=headers, timeout=SECONDS + 10, preload_content=False, retries=False
        )
        try:
            yield _events(response)
        finally:
            response.close()

    def wait_for(self, path: str, name: str, holds: Callable[[Object | None], Any]) -> Any:
        """What `holds` says of the object `name` in the collection `path`, as soon as that is true; None stands for
        gone.
        """
        selector = f"metadata.name={name}"
        listed = self("GET", path, fieldSelector=selector).body
        seen = listed["items"][0] if listed["items"] else None
        if result := holds(seen):
            return result
        version = listed["metadata"]["resourceVersion"]
        with self.watch(path, fieldSelector=selector, resourceVersion=version) as events:
            for event in events:
                seen = None if event["type"] == "DELETED" else event["object"]
                if result := holds(seen):
                    return result
        raise AssertionError(f"{path}/{name} did not come to that in {SECONDS} s: {json.dumps(seen)}")


def _events(response: urllib3.BaseHTTPResponse) -> Iterator[Object]:
    rest = b""
    for part in response.stream(65536, decode_content=True):
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield json.loads(line)


@contextmanager
def _files(*encoded: str) -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory() as directory:
        paths = []
        for index, text in enumerate(encoded):
            path = Path(directory) / str(index)
            path.write_bytes(base64.b64decode(text))
            paths.append(str(path))
        yield paths


@dataclass(frozen=True)
class Home:
    """An API and a namespace of one's own in it, with the paths of the collections there."""

    api: Api
    namespace: str

    def path(self, plural: str, name: str = "", subresource: str = "") -> str:
        group = {"deployments": "apps", "replicasets": "apps", "statefulsets": "apps", "jobs": "batch"}.get(plural, "")
        root = f"/apis/{group}/v1" if group else "/api/v1"
        return "/".join(filter(None, (f"{root}/namespaces/{self.namespace}/{plural}", name, subresource)))

    def get(self, plural: str, name: str) -> Answer:
        return self.api("GET", self.path(plural, name))

    def create(self, plural: str, body: Object, **query: str) -> Answer:
        return self.api("POST", self.path(plural), body, **query)

    def apply(self, plural: str, body: Object, manager: str = "sentinel", **query: str) -> Answer:
        path = self.path(plural, body["metadata"]["name"])
        return self.api("PATCH", path, body, APPLY, fieldManager=manager, **query)

    def merge(self, plural: str, name: str, change: Any, **query: str) -> Answer:
        return self.api("PATCH", self.path(plural, name), change, MERGE, **query)

    def delete(self, plural: str, name: str, **options: Any) -> Answer:
        return self.api("DELETE", self.path(plural, name), options or None)

    def wait_for(self, plural: str, name: str, holds: Callable[[Object | None], Any]) -> Any:
        return self.api.wait_for(self.path(plural), name, holds)

    def pods(self, selector: str) -> list[Object]:
        items: list[Object] = self.api("GET", self.path("pods"), labelSelector=selector).body["items"]
        return items


def deployment(name: str, image: str = "fate.test/ready", replicas: int = 1, **spec: Any) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
        }
        | spec,
    }


def stateful_set(name: str, replicas: int = 2, image: str = "fate.test/ready") -> Object:
    return deployment(name, image, replicas, serviceName=name, podManagementPolicy="Parallel") | {"kind": "StatefulSet"}


def job(name: str, image: str = "fate.test/ready", **spec: Any) -> Object:
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": image}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}} | spec,
    }


def config_map(name: str, **labels: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"a": "b"}}


def pod(name: str, image: str = "fate.test/ready", **spec: Any) -> Object:
    containers = [{"name": "main", "image": image}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": containers} | spec}


def container(obj: Object) -> Object:
    """The first container of a workload's template."""
    found: Object = obj["spec"]["template"]["spec"]["containers"][0]
    return found


def managers(obj: Object) -> set[tuple[str, str, str]]:
    """(manager, operation, subresource) of everyone who owns a field."""
    entries = obj["metadata"]["managedFields"]
    return {(entry["manager"], entry["operation"], entry.get("subresource", "")) for entry in entries}
