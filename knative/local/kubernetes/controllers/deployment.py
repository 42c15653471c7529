"""Deployments: ReplicaSets by template, the rollout between them, and a status that says how it goes."""

from typing import Any

from knative.local.kubernetes import clock, selectors
from knative.local.kubernetes.controllers import conditions, rollout
from knative.local.kubernetes.controllers.actor import MANAGER_STATUS, Actor, controller_of, owner_reference
from knative.local.kubernetes.controllers.progress import deployment_status
from knative.local.kubernetes.controllers.queue import Controller, WorkQueue
from knative.local.kubernetes.controllers.recorder import Recorder
from knative.local.kubernetes.kinds import DEPLOYMENT, POD, REPLICA_SET
from knative.local.kubernetes.objects import Change, Key, Stored

Object = dict[str, Any]

REVISION = "deployment.kubernetes.io/revision"
_SOURCE = "deployment-controller"


class Deployments:
    def __init__(self, actor: Actor, queue: WorkQueue, recorder: Recorder) -> None:
        self._actor = actor
        self._queue = queue
        self._recorder = recorder
        self.controller = Controller("deployment", 5, self._reconcile)

    def observe(self, change: Change) -> None:
        if change.kind is DEPLOYMENT and not change.deleted:
            self._queue.add(self.controller, change.key)
        elif change.kind is REPLICA_SET:
            owner = controller_of(change.new.obj)
            if owner is not None and owner["kind"] == "Deployment":
                self._queue.add(self.controller, (change.key[0], owner["name"]))

    def _reconcile(self, key: Key) -> None:
        stored = self._actor.objects.get(DEPLOYMENT, key)
        if stored is None:
            return
        deployment = stored.obj
        sets = self._claim(deployment)
        new = next(
            (s for s in sets if rollout.same_template(s.obj["spec"]["template"], deployment["spec"]["template"])), None
        )
        olds = [s for s in sets if s is not new]
        number = 0
        if "deletionTimestamp" not in deployment["metadata"]:
            moved = (
                self._scale_paused(deployment, new, olds)
                if deployment["spec"].get("paused")
                else self._roll(deployment, new, olds)
            )
            if moved:
                return  # the ReplicaSets' changes bring this key back
            new, number = self._mark_revision(new, olds)
        status, wait = deployment_status(deployment, new, olds, clock.now())
        if wait is not None:
            self._queue.add_after(self.controller, key, wait)
        self._actor.update(DEPLOYMENT, stored, _with_revision(deployment, number) | {"status": status}, MANAGER_STATUS)
        if "deletionTimestamp" not in deployment["metadata"] and conditions.is_true(status, "Available"):
            self._clean_up(deployment, olds)

    def _claim(self, deployment: Object) -> list[Stored]:
        """The Deployment's ReplicaSets, oldest first; orphans that it selects are adopted."""
        sets = self._actor.objects.owned(REPLICA_SET, deployment["metadata"]["uid"])
        selector = selectors.of_object(deployment["spec"]["selector"])
        pairs = selectors.equalities(selector)
        if pairs and "deletionTimestamp" not in deployment["metadata"]:
            for stored in self._actor.objects.labelled(REPLICA_SET, pairs):
                metadata = stored.obj["metadata"]
                if (
                    metadata["namespace"] == deployment["metadata"]["namespace"]
                    and controller_of(stored.obj) is None
                    and "deletionTimestamp" not in metadata
                    and selectors.matches(selector, metadata.get("labels"))
                ):
                    reference = owner_reference(DEPLOYMENT, deployment)
                    references = [*(metadata.get("ownerReferences") or ()), reference]
                    sets.append(self._actor.set_metadata(REPLICA_SET, stored, ownerReferences=references))
        return sorted(sets, key=lambda s: (s.obj["metadata"]["creationTimestamp"], revision_of(s.obj), s.revision))

    def _roll(self, deployment: Object, new: Stored | None, olds: list[Stored]) -> bool:
        """One step of the rollout; says whether anything moved."""
        spec = deployment["spec"]
        recreate = (spec.get("strategy") or {}).get("type") == "Recreate"
        if recreate and self._stop_old(deployment, olds):
            return True
        if recreate and any(self._actor.objects.owned(POD, old.obj["metadata"]["uid"]) for old in olds):
            return False
        total = sum(old.obj["spec"]["replicas"] for old in olds)
        if new is None:
            return self._create(deployment, olds, rollout.new_replicas(spec, 0, total))
        current = new.obj["spec"]["replicas"]
        if self._scale(deployment, new, rollout.new_replicas(spec, current, total + current)):
            return True
        available = new.obj.get("status", {}).get("availableReplicas", 0)
        states = [
            rollout.Old(o.obj["spec"]["replicas"], o.obj.get("status", {}).get("availableReplicas", 0)) for o in olds
        ]
        targets = rollout.old_replicas(spec, current, available, states)
        moved = [self._scale(deployment, old, target) for old, target in zip(olds, targets, strict=True)]
        return any(moved)

    def _stop_old(self, deployment: Object, olds: list[Stored]) -> bool:
        moved = [self._scale(deployment, old, 0) for old in olds]
        return any(moved)

    def _scale_paused(self, deployment: Object, new: Stored | None, olds: list[Stored]) -> bool:
        """While paused only the size follows: the newest ReplicaSet with pods takes the difference."""
        sets = [*olds, *([new] if new is not None else [])]
        active = [s for s in sets if s.obj["spec"]["replicas"]] or sets[-1:]
        if not active:
            return False
        total = sum(s.obj["spec"]["replicas"] for s in active)
        difference = deployment["spec"]["replicas"] - total
        target = max(0, active[-1].obj["spec"]["replicas"] + difference)
        return self._scale(deployment, active[-1], target)

    def _scale(self, deployment: Object, replica_set: Stored, replicas: int) -> bool:
        before = replica_set.obj["spec"]["replicas"]
        if before == replicas:
            return False
        self._actor.update(
            REPLICA_SET, replica_set, replica_set.obj | {"spec": replica_set.obj["spec"] | {"replicas": replicas}}
        )
        self._tell(deployment, replica_set.obj["metadata"]["name"], before, replicas)
        return True

    def _tell(self, deployment: Object, name: str, before: int, after: int) -> None:
        way = "up" if after > before else "down"
        message = f"Scaled {way} replica set {name} from {before} to {after}"
        self._recorder.record(DEPLOYMENT, deployment, "ScalingReplicaSet", message, _SOURCE)

    def _create(self, deployment: Object, olds: list[Stored], replicas: int) -> bool:
        template = deployment["spec"]["template"]
        collisions = deployment.get("status", {}).get("collisionCount", 0)
        name = rollout.template_hash(template, collisions)
        head = template.get("metadata") or {}
        labels = (head.get("labels") or {}) | {rollout.HASH: name}
        selector = deployment["spec"]["selector"]
        replica_set = {
            "metadata": {
                "name": f"{deployment['metadata']['name']}-{name}",
                "namespace": deployment["metadata"]["namespace"],
                "labels": labels,
                "annotations": self._annotations(deployment, olds),
                "ownerReferences": [owner_reference(DEPLOYMENT, deployment)],
            },
            "spec": {
                "replicas": replicas,
                "selector": selector | {"matchLabels": (selector.get("matchLabels") or {}) | {rollout.HASH: name}},
                "template": template | {"metadata": head | {"labels": labels}},
            },
        }
        if deployment["spec"].get("minReadySeconds"):
            replica_set["spec"]["minReadySeconds"] = deployment["spec"]["minReadySeconds"]
        created = self._actor.create(REPLICA_SET, replica_set)
        if created is None:
            return False
        if replicas:
            self._tell(deployment, replica_set["metadata"]["name"], 0, replicas)
        return True

    @staticmethod
    def _annotations(deployment: Object, olds: list[Stored]) -> dict[str, str]:
        kept = {
            name: value
            for name, value in (deployment["metadata"].get("annotations") or {}).items()
            if name not in (REVISION, "kubectl.kubernetes.io/last-applied-configuration")
        }
        number = max((revision_of(old.obj) for old in olds), default=0) + 1
        sizes = {
            "deployment.kubernetes.io/desired-replicas": str(deployment["spec"]["replicas"]),
            "deployment.kubernetes.io/max-replicas": str(
                deployment["spec"]["replicas"] + rollout.bounds(deployment["spec"]).surge
            ),
        }
        return kept | sizes | {REVISION: str(number)}

    def _mark_revision(self, new: Stored | None, olds: list[Stored]) -> tuple[Stored | None, int]:
        """The newest template has the highest revision, also when it is an old one that came back."""
        if new is None:
            return None, 0
        number = revision_of(new.obj)
        highest = max((revision_of(old.obj) for old in olds), default=0)
        if number <= highest:
            number = highest + 1
            annotations = (new.obj["metadata"].get("annotations") or {}) | {REVISION: str(number)}
            new = self._actor.set_metadata(REPLICA_SET, new, annotations=annotations)
        return new, number

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
            self._actor.delete(REPLICA_SET, old)


def _with_revision(deployment: Object, number: int) -> Object:
    """The Deployment with its revision as an annotation, which goes with the status."""
    metadata = deployment["metadata"]
    annotations = metadata.get("annotations") or {}
    if not number or annotations.get(REVISION) == str(number):
        return deployment
    return deployment | {"metadata": metadata | {"annotations": annotations | {REVISION: str(number)}}}


def revision_of(replica_set: Object) -> int:
    text = (replica_set["metadata"].get("annotations") or {}).get(REVISION, "0")
    return int(text) if text.isdigit() else 0
