"""The driver for Kubernetes: server-side apply with plain dicts. The rules stand in shared.clusters.driver."""

from collections.abc import Iterator, Mapping
from typing import Any

from shared.clusters.answers import Answer, error_of
from shared.clusters.driver import AppliedObject, Propagation
from shared.clusters.transport import FIELD_MANAGER, Transport
from shared.errors import ClusterConflict, ClusterRefused, ClusterUnavailable
from shared.models.deployment import ObjectReference
from shared.models.gpu import GPU_RESOURCE, PRODUCT_LABEL, normalise_sku
from shared.rollout.manifests import INSTANCE_LABEL, MANAGED_BY, MANAGED_BY_LABEL
from shared.rollout.observation import Observation, instance_of, is_stale, revision_of, rollout_of

_ATTEMPTS = 5  # reads of an object that changes between read and write
_PAGE = 500
_RESOURCES = {
    "Deployment": ("/apis/apps/v1", "deployments"),
    "StatefulSet": ("/apis/apps/v1", "statefulsets"),
    "Job": ("/apis/batch/v1", "jobs"),
}


class KubernetesDriver:
    """A ClusterDriver on the API server that a transport reaches."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._cluster = transport.cluster

    def apply(self, manifest: Mapping[str, Any], *, force: bool = False) -> AppliedObject:
        meta = manifest["metadata"]
        reference = ObjectReference(manifest["kind"], meta["namespace"], meta["name"])
        for _ in range(_ATTEMPTS):
            live = self._read(reference)
            if live is None:
                answer = self._apply(reference, manifest, force=False)
            else:
                self._refuse_unless_ours(reference, live, instance_of(manifest))
                self._refuse_to_go_back(reference, live, manifest)
                seen = {"uid": live["metadata"]["uid"], "resourceVersion": live["metadata"]["resourceVersion"]}
                answer = self._apply(reference, {**manifest, "metadata": {**meta, **seen}}, force=force)
            if answer.ok and answer.body is not None:
                applied = answer.body["metadata"]
                return AppliedObject(applied["uid"], applied["resourceVersion"], applied.get("generation", 1))
            if answer.is_absent("namespaces", reference.namespace):
                self.ensure_namespace(reference.namespace)
            elif live is not None and answer.is_field_conflict:
                raise ClusterConflict(f"cluster {self._cluster}: {_words(reference)}: {answer.message}")
            elif answer.status != 409:
                raise error_of(self._cluster, answer)
        raise ClusterUnavailable(f"cluster {self._cluster}: {_words(reference)} keeps changing; {_ATTEMPTS} tries")

    def observe(self, reference: ObjectReference, instance: str) -> Observation:
        live = self._read(reference)
        if live is not None and live["kind"] != "Job" and instance_of(live) == instance and _all_said(live):
            return Observation(live, pods_seen=False)
        selector = {"labelSelector": f"{INSTANCE_LABEL}={instance}"}
        pods = tuple(self._list(f"/api/v1/namespaces/{reference.namespace}/pods", **selector))
        # Only a Deployment's unfinished rollout raises the question of which pods are the new ones.
        if live is None or live["kind"] != "Deployment":
            return Observation(live, pods)
        replica_sets = self._list(f"/apis/apps/v1/namespaces/{reference.namespace}/replicasets", **selector)
        return Observation(live, pods, tuple(replica_sets))

    def delete(self, reference: ObjectReference, instance: str, propagation: Propagation = "Background") -> bool:
        for _ in range(_ATTEMPTS):
            live = self._read(reference)
            if live is None:
                return False
            self._refuse_unless_ours(reference, live, instance)
            options = {
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "propagationPolicy": propagation,
                "preconditions": {"uid": live["metadata"]["uid"]},
            }
            answer = self._transport.delete(_path(reference), options)
            if answer.ok:
                return True
            if answer.status != 409 and not answer.is_absent(_resource(reference), reference.name):
                raise error_of(self._cluster, answer)
        raise ClusterUnavailable(f"cluster {self._cluster}: {_words(reference)} keeps changing; {_ATTEMPTS} tries")

    def ensure_namespace(self, name: str) -> None:
        labels = {MANAGED_BY_LABEL: MANAGED_BY}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        made = self._transport.post("/api/v1/namespaces", namespace, fieldManager=FIELD_MANAGER)
        if made.ok or made.status == 409:
            return
        # Whoever may not make namespaces may still work in one that somebody else has made.
        if made.status == 403 and self._transport.get(f"/api/v1/namespaces/{name}").ok:
            return
        raise error_of(self._cluster, made)

    def gpus(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for node in self._list("/api/v1/nodes"):
            product = node["metadata"].get("labels", {}).get(PRODUCT_LABEL)
            count = int(node.get("status", {}).get("allocatable", {}).get(GPU_RESOURCE, 0))
            if product and count and not node.get("spec", {}).get("unschedulable"):
                sku = normalise_sku(product)
                found[sku] = found.get(sku, 0) + count
        return dict(sorted(found.items()))

    def gpu_products(self) -> tuple[str, ...]:
        nodes = self._list("/api/v1/nodes", labelSelector=PRODUCT_LABEL)
        return tuple(sorted({node["metadata"]["labels"][PRODUCT_LABEL] for node in nodes}))

    def _read(self, reference: ObjectReference) -> dict[str, Any] | None:
        answer = self._transport.get(_path(reference))
        if answer.is_absent(_resource(reference), reference.name):
            return None
        return self._body(answer)

    def _apply(self, reference: ObjectReference, body: Mapping[str, Any], *, force: bool) -> Answer:
        return self._transport.apply(
            _path(reference), body, fieldManager=FIELD_MANAGER, fieldValidation="Strict", force=str(force).lower()
        )

    def _list(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        page: dict[str, str] = {}
        while True:
            body = self._body(self._transport.get(path, limit=str(_PAGE), **query, **page))
            yield from body.get("items") or ()
            token = body.get("metadata", {}).get("continue")
            if not token:
                return
            page = {"continue": token}

    def _body(self, answer: Answer) -> dict[str, Any]:
        if not answer.ok or answer.body is None:
            raise error_of(self._cluster, answer)
        return answer.body

    def _refuse_unless_ours(self, reference: ObjectReference, live: Mapping[str, Any], instance: str | None) -> None:
        manager = live["metadata"].get("labels", {}).get(MANAGED_BY_LABEL)
        where = f"cluster {self._cluster}: {_words(reference)}"
        if manager != MANAGED_BY:
            by = f"managed by {manager}" if manager else "not managed by Sentinel"
            raise ClusterRefused(f"{where} exists and is {by}; rename the workload, or delete that object")
        if instance_of(live) != instance:
            raise ClusterRefused(
                f"{where} belongs to workload {instance_of(live)}; rename the workload, or use another namespace"
            )

    def _refuse_to_go_back(
        self, reference: ObjectReference, live: Mapping[str, Any], manifest: Mapping[str, Any]
    ) -> None:
        where = f"cluster {self._cluster}: {_words(reference)}"
        if "deletionTimestamp" in live["metadata"]:
            raise ClusterUnavailable(f"{where} is being deleted; it can be made again once it is gone")
        there, ours = revision_of(live), revision_of(manifest)
        if there is not None and ours is not None and there > ours:
            raise ClusterConflict(f"{where} is at revision {there}; revision {ours} came too late")


def _resource(reference: ObjectReference) -> str:
    return _RESOURCES[reference.kind][1]


def _path(reference: ObjectReference) -> str:
    group, resource = _RESOURCES[reference.kind]
    return f"{group}/namespaces/{reference.namespace}/{resource}/{reference.name}"


def _words(reference: ObjectReference) -> str:
    return f"{reference.kind} {reference.namespace}/{reference.name}"


def _all_said(live: Mapping[str, Any]) -> bool:
    """Whether the status of a Deployment or StatefulSet leaves no question that its pods could answer."""
    return rollout_of(live).complete and not is_stale(live)
