"""One namespace of one cluster, and what the suite does in it."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TypeVar

from shared.clusters.answers import ApiAnswer
from shared.clusters.driver import ObservedObject
from shared.clusters.kubeconfig import Connection
from shared.clusters.kubernetes import KubernetesDriver
from shared.clusters.transport import Transport
from shared.models.deployment import Deployment, ObjectReference
from shared.models.lifecycle import RevisionStatus
from shared.models.workload import WorkloadSpec
from shared.rollout.manifests import KubernetesObject, manifest
from shared.rollout.observation import Observation
from shared.rollout.verdict import State, Verdict, verdict
from tests.support.someone import Someone

T = TypeVar("T")
PATIENCE_SECONDS = 60.0


def eventually(look: Callable[[], T], accept: Callable[[T], bool]) -> T:
    """What `look` returns once it is acceptable; fails with the last thing seen when patience ends."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        seen = look()
        if accept(seen):
            return seen
        assert time.monotonic() < end, f"still {seen!r}"
        time.sleep(0.05)


class Interrupted(Transport):
    """A transport on which something happens just before a write goes out. requests: how many reads were sent."""

    before_write: Callable[[], object] = staticmethod(lambda: None)
    requests = 0

    def get(self, path: str, **query: str) -> ApiAnswer:
        self.requests += 1
        return super().get(path, **query)

    def apply(self, path: str, body: Mapping[str, Any], **query: str) -> ApiAnswer:
        self.before_write()
        return super().apply(path, body, **query)

    def delete(self, path: str, options: Mapping[str, Any]) -> ApiAnswer:
        self.before_write()
        return super().delete(path, options)


@dataclass
class World:
    """A driver, someone else on the same cluster, and a namespace of their own."""

    connection: Connection
    namespace: str = field(default_factory=lambda: f"contract-{uuid.uuid4().hex[:12]}")

    def __post_init__(self) -> None:
        self.transport = Interrupted("test", self.connection, loopback=True)
        self.driver = KubernetesDriver(self.transport)
        self.someone = Someone(self.connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing that was made stays; what never was made need not go."""
        namespaces = self.someone.get("/api/v1/namespaces")["items"]
        if any(found["metadata"]["name"] == self.namespace for found in namespaces):
            self.someone.delete(f"/api/v1/namespaces/{self.namespace}")
        self.someone.close()

    def spec(self, **fields: Any) -> WorkloadSpec:
        desired = {"name": "web", "type": "inference", "image": "fate.test/ready", "namespace": self.namespace}
        return WorkloadSpec.model_validate({**desired, "replicas": 2, "resources": {"cpu": "100m"}, **fields})

    def manifest(self, revision: int = 1, **fields: Any) -> KubernetesObject:
        spec = self.spec(**fields)
        return manifest(spec, workload_id=spec.id, plan_id=uuid.UUID(int=1), revision=revision, generation=revision)

    def reference(self, document: Mapping[str, Any]) -> ObjectReference:
        return ObjectReference(document["kind"], self.namespace, document["metadata"]["name"])

    def path(self, document: Mapping[str, Any]) -> str:
        plural = document["kind"].lower() + "s"
        group = "batch" if document["kind"] == "Job" else "apps"
        return f"/apis/{group}/v1/namespaces/{self.namespace}/{plural}/{document['metadata']['name']}"

    def live(self, document: Mapping[str, Any]) -> dict[str, Any]:
        return self.someone.get(self.path(document))

    @contextmanager
    def gpu_node(self, *, taints: Sequence[Mapping[str, str]] = (), product: str | None = None) -> Iterator[str]:
        """The name of a node with GPUs that has exactly these taints, and this product, for a while."""
        nodes = self.someone.get("/api/v1/nodes")["items"]
        node = next(one for one in nodes if int(one["status"]["allocatable"].get("nvidia.com/gpu", 0)))
        path, labels = f"/api/v1/nodes/{node['metadata']['name']}", node["metadata"]["labels"]
        changed = {} if product is None else {"nvidia.com/gpu.product": product}
        self.someone.patch(path, {"metadata": {"labels": changed}, "spec": {"taints": list(taints)}})
        try:
            yield str(labels["kubernetes.io/hostname"])
        finally:
            before = {key: labels.get(key) for key in changed}
            self.someone.patch(path, {"metadata": {"labels": before}, "spec": {"taints": node["spec"].get("taints")}})

    def observed(self, document: Mapping[str, Any]) -> ObservedObject:
        return ObservedObject(self.reference(document), document["metadata"]["labels"]["app.kubernetes.io/instance"])

    def observe(self, document: Mapping[str, Any]) -> Observation:
        wanted = self.observed(document)
        return self.driver.observe(wanted.reference, wanted.instance)

    def verdict(self, document: Mapping[str, Any], *, expired: bool = False, started: bool = False) -> Verdict:
        """expired: past its deadline. started: a Job that ran before."""
        now = datetime.now(UTC)
        instance = document["metadata"]["labels"]["app.kubernetes.io/instance"]
        watched = Deployment(
            id=uuid.uuid4(),
            workload_id=uuid.UUID(instance),
            revision=int(document["metadata"]["annotations"]["sentinel.dev/revision"]),
            generation=1,
            plan_id=uuid.UUID(int=1),
            cluster="test",
            reference=self.reference(document),
            manifest=dict(document),
            status=RevisionStatus.VERIFYING,
            deadline_at=now - timedelta(seconds=1) if expired else now + timedelta(hours=1),
            ready_since=now if started else None,
        )
        observation = self.driver.observe(watched.reference, instance)
        return verdict(observation, watched, now=now, bake=timedelta(0), pull_grace=timedelta(0))

    def wait_for(self, document: Mapping[str, Any], state: State) -> Verdict:
        return eventually(lambda: self.verdict(document), lambda seen: seen.state is state)
