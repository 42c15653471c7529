"""Deployments: ReplicaSets by template, the rolling update between them, and a status that says how it goes."""

from typing import Any

from knative.local.kubernetes import clock
from knative.local.kubernetes.controllers import conditions, rollout
from knative.local.kubernetes.controllers.client import MANAGER_STATUS, owner_reference
from knative.local.kubernetes.controllers.owning import OwningController
from knative.local.kubernetes.controllers.progress import deployment_status
from knative.local.kubernetes.kinds import DEPLOYMENT, REPLICA_SET
from knative.local.kubernetes.objects import Stored, key_of

Object = dict[str, Any]

REVISION = "deployment.kubernetes.io/revision"
_SOURCE = "deployment-controller"


class DeploymentController(OwningController):
    kind, dependent, level = DEPLOYMENT, REPLICA_SET, 5

    def _sync(self, stored: Stored, owned: list[Stored]) -> None:
        deployment = stored.obj
        active = "deletionTimestamp" not in deployment["metadata"]
        owned.sort(key=lambda s: (s.obj["metadata"]["creationTimestamp"], revision_of(s.obj), s.revision))
        template = deployment["spec"]["template"]
        new = next((s for s in owned if rollout.same_template(s.obj["spec"]["template"], template)), None)
        olds = [s for s in owned if s is not new]
        if active:
            if self._roll(deployment, new, olds):
                return  # the ReplicaSets' changes bring this key back
            if new is not None:
                new = self._with_highest_revision(new, olds)
                deployment = _with_revision(deployment, revision_of(new.obj))
        status, wait = deployment_status(deployment, new, olds, clock.now())
        if wait is not None:
            self._queue.add_after(self.controller, key_of(deployment), wait)
        self._client.update(DEPLOYMENT, stored, deployment | {"status": status}, MANAGER_STATUS)
        if active and conditions.is_true(status, "Available"):
            self._clean_up(deployment, olds)

    def _roll(self, deployment: Object, new: Stored | None, olds: list[Stored]) -> bool:
        """One step of the rolling update; says whether anything moved."""
        spec = deployment["spec"]
        total = sum(old.obj["spec"]["replicas"] for old in olds)
        if new is None:
            return self._create(deployment, olds, rollout.new_replicas(spec, 0, total))
        current = new.obj["spec"]["replicas"]
        if self._scale(deployment, new, rollout.new_replicas(spec, current, total + current)):
            return True
        states = [rollout.Old(o.obj["spec"]["replicas"], _available(o)) for o in olds]
        targets = rollout.old_replicas(spec, current, _available(new), states)
        moved = [self._scale(deployment, old, target) for old, target in zip(olds, targets, strict=True)]
        return any(moved)

    def _scale(self, deployment: Object, replica_set: Stored, replicas: int) -> bool:
        spec = replica_set.obj["spec"]
        before = spec["replicas"]
        if before == replicas:
            return False
        self._client.update(REPLICA_SET, replica_set, replica_set.obj | {"spec": spec | {"replicas": replicas}})
        self._record_scaling(deployment, replica_set.obj["metadata"]["name"], before, replicas)
        return True

    def _record_scaling(self, deployment: Object, name: str, before: int, after: int) -> None:
        way = "up" if after > before else "down"
        message = f"Scaled {way} replica set {name} from {before} to {after}"
        self._recorder.record(DEPLOYMENT, deployment, "ScalingReplicaSet", message, _SOURCE)

    def _create(self, deployment: Object, olds: list[Stored], replicas: int) -> bool:
        spec = deployment["spec"]
        suffix = rollout.template_hash(spec["template"])
        head = spec["template"].get("metadata") or {}
        labels = (head.get("labels") or {}) | {rollout.HASH: suffix}
        name = f"{deployment['metadata']['name']}-{suffix}"
        selected = (spec["selector"].get("matchLabels") or {}) | {rollout.HASH: suffix}
        created = self._client.create(
            REPLICA_SET,
            {
                "metadata": {
                    "name": name,
                    "namespace": deployment["metadata"]["namespace"],
                    "labels": labels,
                    "annotations": _annotations(deployment, olds),
                    "ownerReferences": [owner_reference(DEPLOYMENT, deployment)],
                },
                "spec": {
                    "replicas": replicas,
                    "selector": spec["selector"] | {"matchLabels": selected},
                    "template": spec["template"] | {"metadata": head | {"labels": labels}},
                },
            },
        )
        if created is not None and replicas:
            self._record_scaling(deployment, name, 0, replicas)
        return created is not None

    def _with_highest_revision(self, new: Stored, olds: list[Stored]) -> Stored:
        """The newest template has the highest revision, also when it is an old one that came back."""
        highest = max((revision_of(old.obj) for old in olds), default=0)
        if revision_of(new.obj) > highest:
            return new
        annotations = (new.obj["metadata"].get("annotations") or {}) | {REVISION: str(highest + 1)}
        return self._client.set_metadata(REPLICA_SET, new, annotations=annotations)

    def _clean_up(self, deployment: Object, olds: list[Stored]) -> None:
        """Old ReplicaSets beyond the history limit go, the oldest first."""
        limit = deployment["spec"].get("revisionHistoryLimit", 10)
        idle = [
            old
            for old in olds
            if not old.obj["spec"]["replicas"]
            and not old.obj.get("status", {}).get("replicas")
            and "deletionTimestamp" not in old.obj["metadata"]
        ]
        for old in sorted(idle, key=lambda s: revision_of(s.obj))[: max(0, len(idle) - limit)]:
            self._client.delete(REPLICA_SET, old)


def _available(replica_set: Stored) -> int:
    available: int = replica_set.obj.get("status", {}).get("availableReplicas", 0)
    return available


def _annotations(deployment: Object, olds: list[Stored]) -> dict[str, str]:
    """What a new ReplicaSet takes over from its Deployment, and its own revision."""
    kept = dict(deployment["metadata"].get("annotations") or {})
    kept.pop("kubectl.kubernetes.io/last-applied-configuration", None)
    return kept | {REVISION: str(max((revision_of(old.obj) for old in olds), default=0) + 1)}


def _with_revision(deployment: Object, number: int) -> Object:
    """The Deployment with its revision as an annotation, which is written together with the status."""
    metadata = deployment["metadata"]
    annotations = metadata.get("annotations") or {}
    if annotations.get(REVISION) == str(number):
        return deployment
    return deployment | {"metadata": metadata | {"annotations": annotations | {REVISION: str(number)}}}


def revision_of(replica_set: Object) -> int:
    text = (replica_set["metadata"].get("annotations") or {}).get(REVISION, "0")
    return int(text) if text.isdigit() else 0
