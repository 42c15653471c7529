"""ReplicaSets: as many active pods as asked for, and a status that counts them."""

from typing import Any

from knative.local.kubernetes.controllers import pods
from knative.local.kubernetes.controllers.owning import OwningController
from knative.local.kubernetes.kinds import POD, REPLICA_SET
from knative.local.kubernetes.objects import Stored

Object = dict[str, Any]

_BURST = 500  # pods made in one go


class ReplicaSetController(OwningController):
    kind, dependent, level = REPLICA_SET, POD, 4

    def _sync(self, stored: Stored, owned: list[Stored]) -> None:
        replica_set = stored.obj
        active = [pod for pod in owned if pods.is_active(pod.obj)]
        desired = replica_set["spec"].get("replicas", 1)
        if "deletionTimestamp" not in replica_set["metadata"]:
            if len(active) < desired:
                created = [self._create(replica_set) for _ in range(min(desired - len(active), _BURST))]
                if all(created):
                    return  # the pods' changes bring this key back
            elif len(active) > desired:
                for pod in sorted(active, key=_deletion_order)[: len(active) - desired]:
                    self._client.delete(POD, pod)
                return
        self._client.set_status(REPLICA_SET, stored, _status(replica_set, active, owned))

    def _create(self, replica_set: Object) -> bool:
        return self._client.create(POD, pods.from_template(REPLICA_SET, replica_set)) is not None


def _status(replica_set: Object, active: list[Stored], owned: list[Stored]) -> Object:
    ready = sum(pods.is_ready(pod.obj) for pod in active)
    counts = {"fullyLabeledReplicas": len(active), "readyReplicas": ready, "availableReplicas": ready}
    return {
        "replicas": len(active),
        **{name: count for name, count in counts.items() if count},
        "terminatingReplicas": sum(pods.is_terminating(pod.obj) for pod in owned),
        "observedGeneration": replica_set["metadata"]["generation"],
    }


def _deletion_order(stored: Stored) -> tuple[bool, bool, bool, int]:
    """Sort key of what to delete first: without a node, not running, not ready, youngest."""
    pod = stored.obj
    return (
        bool(pod["spec"].get("nodeName")),
        pod.get("status", {}).get("phase") == "Running",
        pods.is_ready(pod),
        -stored.revision,
    )
