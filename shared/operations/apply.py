"""Carry a task out on its cluster, with no transaction open. Idempotent: a redelivery does it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from shared.errors import ClusterAway, ClusterConflict, ClusterRefused, ClusterUnavailable

if TYPE_CHECKING:
    from shared.clusters.driver import ClusterDriver
    from shared.models.deployment import Deployment, ObjectReference
    from shared.models.plan import ActionPlan

TASK_SECONDS = 40.0
"""All the time that one task has on a cluster. It is longer than a write with its admission webhooks may take."""


class Clusters(Protocol):
    """Where drivers come from."""

    def driver(self, name: str) -> ClusterDriver: ...


@dataclass(frozen=True)
class ObjectDeletion:
    """An object that has to go. revision: the highest that is meant; an object of a newer one stays."""

    reference: ObjectReference
    revision: int

    def means(self, revision: Deployment) -> bool:
        """Whether the object, as far as it is to go, stands for this revision."""
        ours, theirs = self.reference, revision.reference
        same = (ours.kind, ours.namespace, ours.name) == (theirs.kind, theirs.namespace, theirs.name)
        return same and revision.revision <= self.revision


@dataclass(frozen=True)
class ClusterTask:
    """One plan to execute. Either `apply` is a revision to bring onto the cluster, or there is only `delete`.

    plan: as it was leased; its id and its number of executions are the fencing token. instance: the workload's id, as
    objects carry it. delete: objects that have to go: all of the workload's for a removal, earlier Jobs for a new one.
    force: take fields over from other field managers. uid: of the object to apply to, where an earlier revision has
    applied it.
    """

    plan: ActionPlan
    instance: str
    apply: Deployment | None
    delete: tuple[ObjectDeletion, ...]
    force: bool
    uid: str | None = None


@dataclass(frozen=True)
class TaskDone:
    """The cluster took it.

    uid: of the applied object. left_behind: why an earlier object may still be there, "" if none is.
    """

    uid: str | None
    left_behind: str = ""


@dataclass(frozen=True)
class TaskRefused:
    """The cluster will never take it."""

    reason: str
    message: str


@dataclass(frozen=True)
class TaskPostponed:
    """The cluster did not answer, or asked for patience. away: whether it does so whatever it is asked."""

    message: str
    away: bool = False


TaskOutcome = TaskDone | TaskRefused | TaskPostponed


def carry_out(clusters: Clusters, task: ClusterTask) -> TaskOutcome:
    """Applies first and deletes after: an earlier Job goes only when the new one is there.

    Where there is nothing to do, the cluster is not asked: it may be lost, or removed.
    """
    uid, left_behind = None, ""
    if task.apply is None and not task.delete:
        return TaskDone(None)
    try:
        driver = clusters.driver(task.plan.decision.cluster).within(TASK_SECONDS)
        if task.apply is not None:
            uid = driver.apply(task.apply.manifest, force=task.force, uid=task.uid).uid
        for deletion in task.delete:
            try:
                driver.delete(deletion.reference, task.instance, revision=deletion.revision)
            except ClusterRefused as error:
                if uid is None:
                    raise
                left_behind = str(error)  # the new revision runs; that the old one stays does not undo it
    except ClusterUnavailable as error:
        return TaskPostponed(str(error), away=isinstance(error, ClusterAway))
    except ClusterConflict as error:
        return TaskRefused("Conflict", str(error))
    except ClusterRefused as error:
        return TaskRefused("ApplyRefused" if task.apply else "RemoveRefused", str(error))
    return TaskDone(uid, left_behind)
