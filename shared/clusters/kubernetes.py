"""The driver for Kubernetes: server-side apply with plain dicts. The rules stand in shared.clusters.driver."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from shared.clusters.answers import ApiAnswer, error_of
from shared.clusters.driver import AppliedObject, ObjectPage, ObservedObject, Propagation
from shared.clusters.transport import FIELD_MANAGER, Transport
from shared.errors import ClusterConflict, ClusterRefused, ClusterUnavailable, ForeignObject
from shared.models.deployment import ObjectReference
from shared.models.gpu import GPU_RESOURCE, PRODUCT_LABEL, normalise_sku
from shared.models.node import GpuNode
from shared.rollout.field_conflicts import resolve
from shared.rollout.manifests import (
    INSTANCE_LABEL,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    autoscaling_of,
    missing_identity,
)
from shared.rollout.observation import (
    Observation,
    belongs_to,
    instance_of,
    is_managed,
    is_stale,
    lacks_pods,
    owns_replicas,
    revision_of,
    rollout_of,
)
from shared.rollout.owned_fields import owned_digest

_ATTEMPTS = 5  # reads of an object that changes between read and write
_PAUSE_SECONDS = 0.01  # before the second of them; then three times as long each
_PAGE = 500
_EXPIRED = 410
_NO_OBJECT = {"resourceVersion": "1"}
"""What an apply carries that may only create. No object has this version: an API server refuses the apply to one that
exists as stale, and takes no notice of the version where there is none. A POST would be no apply: its fields would
belong to the manager's updates, and later applies could not remove them.
"""
_EVENTS = 20  # Events of one object that are read: they repeat each other
_RESOURCES = {
    "Deployment": ("/apis/apps/v1", "deployments"),
    "StatefulSet": ("/apis/apps/v1", "statefulsets"),
    "Job": ("/apis/batch/v1", "jobs"),
}

_Found = dict[str, Any] | None | ClusterRefused
_Listed = tuple[Mapping[str, Any], ...] | ClusterRefused


class KubernetesDriver:
    """A ClusterDriver on the API server that a transport reaches."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._cluster = transport.cluster

    def within(self, seconds: float, allowed: Callable[[], bool] | None = None) -> "KubernetesDriver":
        return KubernetesDriver(self._transport.within(seconds, allowed))

    def apply(
        self, manifest: Mapping[str, Any], *, failure: str | None = None, uid: str | None = None
    ) -> AppliedObject:
        meta = manifest["metadata"]
        reference = ObjectReference(manifest["kind"], meta["namespace"], meta["name"], uid)
        for _ in _attempts():
            live, resolution = self._read(reference), None
            if live is None:
                answer = self._apply(reference, {**manifest, "metadata": {**meta, **_NO_OBJECT}}, force=False)
            else:
                self._refuse_unless_ours(reference, live, instance_of(manifest))
                self._refuse_to_go_back(reference, live, manifest)
                seen = {"uid": live["metadata"]["uid"], "resourceVersion": live["metadata"]["resourceVersion"]}
                body = {**_with_replicas_of(live, manifest), "metadata": {**meta, **seen}}
                answer = self._apply(reference, body, force=False)
                if conflicts := answer.field_conflicts:
                    if (resolution := resolve(body, conflicts, failure)) is None:
                        raise ClusterConflict(f"cluster {self._cluster}: {_words(reference)}: {answer.message}")
                    answer = self._apply(reference, resolution.document, force=bool(resolution.taken))
            if answer.ok and answer.body is not None:
                applied = answer.body["metadata"]
                taken, left = (resolution.taken, resolution.left) if resolution else ((), ())
                made = applied["uid"], applied["resourceVersion"], applied.get("generation", 1)
                return AppliedObject(*made, taken=taken, left=left, digest=owned_digest(manifest, answer.body))
            if answer.is_absent("namespaces", reference.namespace):
                self.ensure_namespace(reference.namespace)
            elif answer.status != 409:
                raise error_of(self._cluster, answer)
        raise ClusterUnavailable(f"cluster {self._cluster}: {_words(reference)} keeps changing; {_ATTEMPTS} tries")

    def observe(self, reference: ObjectReference, instance: str) -> Observation:
        found = self.observe_many([ObservedObject(reference, instance)])[0]
        if isinstance(found, ClusterRefused):
            raise found
        return found

    def observe_many(self, objects: Sequence[ObservedObject]) -> list[Observation | ClusterRefused]:
        # Objects first and what they control after: a pod that is not there has not been deleted before its object.
        lives = self._read_many(objects)
        open_ = [one for one in objects if _leaves_open(one, lives[one])]
        pods = self._controlled("/api/v1", "pods", open_)
        # Only a Deployment's unfinished rollout raises the question of which pods are the new ones.
        rolling = [one for one in open_ if one.reference.kind == "Deployment" and _is_there(lives[one])]
        sets = self._controlled("/apis/apps/v1", "replicasets", rolling)
        return [self._observation(lives[one], pods.get(one), sets.get(one, ())) for one in objects]

    def list_managed(self, kind: str, namespace: str, token: str) -> ObjectPage:
        group, resource = _RESOURCES[kind]
        scope = f"/namespaces/{namespace}" if namespace else ""
        query = {"continue": token} if token else {}
        selector = f"{MANAGED_BY_LABEL}={MANAGED_BY}"
        answer = self._transport.get(f"{group}{scope}/{resource}", labelSelector=selector, limit=str(_PAGE), **query)
        if answer.status == _EXPIRED and token:
            # The server may offer to go on from there in a later state, which is as good.
            offered = (answer.body or {}).get("metadata", {}).get("continue", "")
            return ObjectPage(next_token=offered, expired=not offered)
        body = self._body(answer)
        api_version = group.removeprefix("/apis/")
        objects = tuple({"apiVersion": api_version, "kind": kind, **item} for item in body.get("items") or ())
        return ObjectPage(objects, body.get("metadata", {}).get("continue") or "")

    def restore_identity(self, live: Mapping[str, Any], manifest: Mapping[str, Any]) -> bool:
        meta = live["metadata"]
        reference = ObjectReference(live["kind"], meta["namespace"], meta["name"])
        # The uid and resourceVersion that were read: what changed since is not overwritten unseen.
        seen = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
        body = {"metadata": {**seen, **missing_identity(live, manifest)}}
        answer = self._transport.merge(_path(reference), body, fieldManager=FIELD_MANAGER)
        if answer.ok:
            return True
        if answer.status == 409 or answer.is_absent(_resource(reference), reference.name):
            return False
        raise error_of(self._cluster, answer)

    def delete(
        self,
        reference: ObjectReference,
        instance: str,
        propagation: Propagation = "Background",
        *,
        revision: int | None = None,
    ) -> bool:
        for _ in _attempts():
            live = self._read(reference)
            if live is None:
                return False
            self._refuse_unless_ours(reference, live, instance)
            there = revision_of(live)
            if revision is not None and there is not None and there > revision:
                return False
            options = {
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "propagationPolicy": propagation,
                "preconditions": {name: live["metadata"][name] for name in ("uid", "resourceVersion")},
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
            count = _gpus_of(node)
            if product and count and not node.get("spec", {}).get("unschedulable"):
                sku = normalise_sku(product)
                found[sku] = found.get(sku, 0) + count
        return dict(sorted(found.items()))

    def gpu_nodes(self) -> tuple[GpuNode, ...]:
        nodes = self._list("/api/v1/nodes", labelSelector=PRODUCT_LABEL)
        found = (
            GpuNode(node["metadata"]["name"], node["metadata"]["labels"][PRODUCT_LABEL], _gpus_of(node))
            for node in nodes
        )
        return tuple(sorted(found, key=lambda node: node.name))

    def _read(self, reference: ObjectReference) -> dict[str, Any] | None:
        answer = self._transport.get(_path(reference))
        if answer.is_absent(_resource(reference), reference.name):
            return None
        return self._body(answer)

    def _apply(self, reference: ObjectReference, body: Mapping[str, Any], *, force: bool) -> ApiAnswer:
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

    def _observation(self, live: _Found, pods: _Listed | None, sets: _Listed) -> Observation | ClusterRefused:
        if isinstance(live, ClusterRefused):
            return live
        if pods is None:
            return Observation(live, pods_seen=False)
        if isinstance(pods, ClusterRefused):
            return pods
        if isinstance(sets, ClusterRefused):
            return sets
        return Observation(live, pods, sets, refusals=self._refusals(live))

    def _read_many(self, objects: Sequence[ObservedObject]) -> dict[ObservedObject, _Found]:
        """Each object, by one LIST where there are several of a kind.

        What no list shows is read by its name: its labels may be gone, and only a 404 says that an object is.
        """
        by_name: dict[tuple[str, str, str], dict[str, Any]] = {}
        for kind, (group, resource) in _RESOURCES.items():
            several = [one for one in objects if one.reference.kind == kind]
            if len(several) > 1:
                for items in self._controlled(group, resource, several).values():
                    for live in () if isinstance(items, ClusterRefused) else items:
                        by_name[kind, live["metadata"]["namespace"], live["metadata"]["name"]] = {
                            "apiVersion": group.removeprefix("/apis/"),
                            "kind": kind,
                            **live,
                        }
        found: dict[ObservedObject, _Found] = {}
        for one in objects:
            reference = one.reference
            try:
                listed = by_name.get((reference.kind, reference.namespace, reference.name))
                found[one] = listed or self._read(reference)
            except ClusterRefused as error:
                found[one] = error
        return found

    def _controlled(
        self, group: str, resource: str, objects: Sequence[ObservedObject]
    ) -> dict[ObservedObject, _Listed]:
        """The items of a resource with the instance labels of these workloads, by the object that was asked about.

        One LIST for all of them; one a namespace where the credentials do not reach over all namespaces.
        """
        if not objects:
            return {}
        namespaces = sorted({one.reference.namespace for one in objects})
        selector = f"{INSTANCE_LABEL} in ({','.join(sorted({one.instance for one in objects}))})"
        scope = f"/namespaces/{namespaces[0]}" if len(namespaces) == 1 else ""
        try:
            items = list(self._list(f"{group}{scope}/{resource}", labelSelector=selector))
        except ClusterRefused as error:
            if scope:
                return dict.fromkeys(objects, error)
            found: dict[ObservedObject, _Listed] = {}
            for namespace in namespaces:
                inside = [one for one in objects if one.reference.namespace == namespace]
                found |= self._controlled(group, resource, inside)
            return found
        by_owner: dict[tuple[str, str | None], list[Mapping[str, Any]]] = {}
        for item in items:
            by_owner.setdefault((item["metadata"]["namespace"], instance_of(item)), []).append(item)
        return {one: tuple(by_owner.get((one.reference.namespace, one.instance), ())) for one in objects}

    def _refusals(self, live: Mapping[str, Any] | None) -> tuple[Mapping[str, Any], ...]:
        """The Events of a controller that could not create pods; none where the credentials may not read Events."""
        if live is None or live["kind"] == "Deployment" or not lacks_pods(live):
            return ()
        meta = live["metadata"]
        fields = f"involvedObject.uid={meta['uid']},reason=FailedCreate"
        path = f"/api/v1/namespaces/{meta['namespace']}/events"
        try:
            events = self._body(self._transport.get(path, fieldSelector=fields, limit=str(_EVENTS)))
        except ClusterRefused:
            return ()  # the reason is worth less than the rest of the observation
        return tuple(events.get("items") or ())

    def _body(self, answer: ApiAnswer) -> dict[str, Any]:
        if not answer.ok or answer.body is None:
            raise error_of(self._cluster, answer)
        return answer.body

    def _refuse_unless_ours(self, reference: ObjectReference, live: Mapping[str, Any], instance: str | None) -> None:
        where = f"cluster {self._cluster}: {_words(reference)}"
        if not is_managed(live, reference.uid):
            manager = live["metadata"].get("labels", {}).get(MANAGED_BY_LABEL)
            by = f"managed by {manager}" if manager else "not managed by Sentinel"
            raise ForeignObject(f"{where} exists and is {by}; rename the workload, or delete that object")
        if not belongs_to(live, instance or "", reference.uid):
            raise ForeignObject(
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


def _gpus_of(node: Mapping[str, Any]) -> int:
    return int(node.get("status", {}).get("allocatable", {}).get(GPU_RESOURCE, 0))


def _with_replicas_of(live: Mapping[str, Any], manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """A manifest for an object that is there: an autoscaler's replicas stay as they are.

    They are left out, unless Sentinel alone owns them since it made the object: then leaving them out would set them to
    1, and they are kept within the range.
    """
    autoscaling = autoscaling_of(manifest)
    if autoscaling is None:
        return manifest
    spec = {name: value for name, value in manifest["spec"].items() if name != "replicas"}
    if owns_replicas(live, FIELD_MANAGER):
        spec["replicas"] = min(max(rollout_of(live).desired, autoscaling.min), autoscaling.max)
    return {**manifest, "spec": spec}


def _resource(reference: ObjectReference) -> str:
    return _RESOURCES[reference.kind][1]


def _path(reference: ObjectReference) -> str:
    group, resource = _RESOURCES[reference.kind]
    return f"{group}/namespaces/{reference.namespace}/{resource}/{reference.name}"


def _attempts() -> Iterator[None]:
    """With pauses, because a controller writes an object's status several times while a rollout begins."""
    for number in range(_ATTEMPTS):
        if number:
            time.sleep(_PAUSE_SECONDS * 3 ** (number - 1) * random.uniform(0.5, 1))  # noqa: S311  (spread, no secret)
        yield


def _words(reference: ObjectReference) -> str:
    return f"{reference.kind} {reference.namespace}/{reference.name}"


def _is_there(live: _Found) -> bool:
    return live is not None and not isinstance(live, ClusterRefused)


def _leaves_open(wanted: ObservedObject, live: _Found) -> bool:
    """Whether the status of an object leaves a question that its workload's pods could answer.

    A complete rollout leaves none. Nor does a status of an older generation: no pod can speak for the new one yet.
    """
    if isinstance(live, ClusterRefused):
        return False
    if live is None or live["kind"] == "Job" or not belongs_to(live, wanted.instance, wanted.reference.uid):
        return True
    return not is_stale(live) and not rollout_of(live).complete
