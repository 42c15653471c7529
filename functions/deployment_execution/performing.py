"""What execution does to a cluster, with no transaction open. Idempotent: a redelivery does it again."""

from dataclasses import dataclass
from typing import Protocol

from shared.clusters.driver import ClusterDriver
from shared.errors import ClusterConflict, ClusterRefused, ClusterUnavailable
from shared.models.deployment import Deployment, ObjectReference
from shared.models.plan import ActionPlan


class Clusters(Protocol):
    """Where drivers come from."""

    def driver(self, name: str) -> ClusterDriver: ...


@dataclass(frozen=True)
class Task:
    """One plan to execute. Either `apply` is a revision to bring onto the cluster, or there is only `delete`.

    delete: objects that have to go: all of the workload's for a removal, earlier Jobs for a new one. force: take
    fields over from other field managers.
    """

    plan: ActionPlan
    instance: str
    apply: Deployment | None
    delete: tuple[ObjectReference, ...]
    force: bool


@dataclass(frozen=True)
class Applied:
    """The cluster took it.

    uid: of the applied object. left: why an earlier object may still be there, "" if none is.
    """

    uid: str | None
    left: str = ""


@dataclass(frozen=True)
class Refused:
    """The cluster will never take it."""

    reason: str
    message: str


@dataclass(frozen=True)
class Away:
    """The cluster did not answer, or asked for patience."""

    message: str


Outcome = Applied | Refused | Away


class Performer:
    """Brings tasks onto clusters."""

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def perform(self, task: Task) -> Outcome:
        """Applies first and deletes after: an earlier Job goes only when the new one is there."""
        uid, left = None, ""
        try:
            driver = self._clusters.driver(task.plan.decision.cluster)
            if task.apply is not None:
                uid = driver.apply(task.apply.manifest, force=task.force).uid
            for reference in task.delete:
                try:
                    driver.delete(reference, task.instance)
                except ClusterRefused as error:
                    if uid is None:
                        raise
                    left = str(error)  # the new revision runs; that the old one stays does not undo it
        except ClusterUnavailable as error:
            return Away(str(error))
        except ClusterConflict as error:
            return Refused("Conflict", str(error))
        except ClusterRefused as error:
            return Refused("ApplyRefused" if task.apply else "RemoveRefused", str(error))
        return Applied(uid, left)
