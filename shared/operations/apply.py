"""Carry a task out on its cluster, with no transaction open. Idempotent: a redelivery does it again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from shared.errors import (
    ArrivalUnknown,
    ClusterAway,
    ClusterConflict,
    ClusterRefused,
    ClusterUnavailable,
    ForeignObject,
)
from shared.rollout.observation import belongs_to, is_managed, revision_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shared.clusters.driver import ClusterDriver
    from shared.models.deployment import Deployment, ObjectReference, OwnedField
    from shared.models.plan import ActionPlan
    from shared.operations.lease import LeaseRenewal

TASK_SECONDS = 40.0
"""All the time that one task has on a cluster. It is longer than a write with its admission webhooks may take, and
shorter than the broker waits for an answer.
"""


class Clusters(Protocol):
    """Where drivers come from."""

    def driver(self, name: str) -> ClusterDriver: ...


@dataclass(frozen=True)
class ObjectDeletion:
    """An object that has to go. revision: the highest that is meant; an object of a newer one stays.

    expected: whether a revision is known that may be there. A name that the workload had before is tried, and no more.
    """

    reference: ObjectReference
    revision: int
    expected: bool = True

    def means(self, revision: Deployment) -> bool:
        """Whether the object, as far as it is to go, stands for this revision."""
        ours, theirs = self.reference, revision.reference
        same = (ours.kind, ours.namespace, ours.name) == (theirs.kind, theirs.namespace, theirs.name)
        return same and revision.revision <= self.revision


def deletions_of(deployments: Sequence[Deployment]) -> tuple[ObjectDeletion, ...]:
    """Each object once, up to the newest of the revisions that it may have stood for. deployments: oldest first."""
    found: dict[tuple[str, str, str], ObjectDeletion] = {}
    for deployment in deployments:
        reference = deployment.reference
        name = (reference.kind, reference.namespace, reference.name)
        if reference.uid is None and name in found:
            reference = found[name].reference  # a revision that was not applied yet does not know its object's uid
        found[name] = ObjectDeletion(reference, deployment.revision)
    return tuple(found.values())


@dataclass(frozen=True)
class ClusterTask:
    """One plan to execute. Either `apply` is a revision to bring onto the cluster, or there is only `delete`.

    plan: as it was leased; its id and its number of executions are the fencing token. instance: the workload's id, as
    objects carry it. delete: objects that have to go, those that are expected first: all that the workload ever had for
    a removal, earlier Jobs for a new one. failure: for a rollback, why the revision that it goes back from is broken,
    "" if that is not known. uid: of the object to apply to, where an earlier revision has applied it.
    """

    plan: ActionPlan
    instance: str
    apply: Deployment | None
    delete: tuple[ObjectDeletion, ...]
    failure: str | None = None
    uid: str | None = None

    @property
    def cleans_up(self) -> bool:
        """Whether it takes away what its plan, which has ended, left on the cluster."""
        return self.apply is None and self.plan.decision.verb.applies


@dataclass(frozen=True)
class RefusedDeletion:
    """An object that may still be there, and why. foreign: it is somebody else's now, and stays."""

    deletion: ObjectDeletion
    reason: str
    foreign: bool


@dataclass(frozen=True)
class TaskDone:
    """The cluster took it. uid: of the applied object. refused: what it did not delete.

    taken, left: fields of other field managers that the apply took, and those that it left to them. digest: of the
    applied fields, "" where it is not known; see shared.rollout.owned_fields.
    """

    uid: str | None
    refused: tuple[RefusedDeletion, ...] = ()
    taken: tuple[OwnedField, ...] = ()
    left: tuple[OwnedField, ...] = ()
    digest: str = ""


@dataclass(frozen=True)
class TaskRefused:
    """The cluster will never take the revision, and does not have it."""

    reason: str
    message: str


@dataclass(frozen=True)
class TaskPostponed:
    """The cluster did not answer, or asked for patience. away: whether it does so whatever it is asked.

    unseen: it refused, and does not show whether an earlier attempt arrived.
    """

    message: str
    away: bool = False
    unseen: bool = False


TaskOutcome = TaskDone | TaskRefused | TaskPostponed


def carry_out(clusters: Clusters, leases: LeaseRenewal, task: ClusterTask) -> TaskOutcome:
    """Applies first and deletes after: an earlier Job goes only when the new one is there.

    No request begins once its lease may have ended. Where nothing is known to be there, nobody waits for the cluster:
    it may be lost, or removed.
    """
    try:
        with leases.keep(task) as lease:
            driver = clusters.driver(task.plan.decision.cluster).within(TASK_SECONDS, lease.is_held)
            done = TaskDone(None) if task.apply is None else _apply(driver, task, task.apply)
            return replace(done, refused=tuple(_delete(driver, task)))
    except ClusterUnavailable as error:
        if task.apply is None and not any(deletion.expected for deletion in task.delete):
            return TaskDone(None)
        unseen = isinstance(error, ArrivalUnknown)
        return TaskPostponed(str(error), away=isinstance(error, ClusterAway), unseen=unseen)
    except ClusterConflict as error:
        return TaskRefused("Conflict", str(error))
    except ClusterRefused as error:
        return TaskRefused("ApplyRefused", str(error))


def _apply(driver: ClusterDriver, task: ClusterTask, revision: Deployment) -> TaskDone:
    """What was applied. An earlier execution may have applied it, though the answer was lost."""
    try:
        applied = driver.apply(revision.manifest, failure=task.failure, uid=task.uid)
        return TaskDone(applied.uid, taken=applied.taken, left=applied.left, digest=applied.digest)
    except (ClusterConflict, ClusterRefused) as refusal:
        if task.plan.executions > 1 and (uid := _applied_before(driver, task, revision, str(refusal))) is not None:
            return TaskDone(uid)
        raise


def _applied_before(driver: ClusterDriver, task: ClusterTask, revision: Deployment, refusal: str) -> str | None:
    """The uid of the object, when it is of this revision. What was changed in it since is for verification to judge.

    Raises ArrivalUnknown when nobody can tell: then the revision must not count as one that is not there.
    """
    reference = replace(revision.reference, uid=task.uid)
    try:
        live = driver.observe(reference, task.instance).object
    except ClusterRefused as error:
        raise ArrivalUnknown(f"{refusal}; whether an earlier attempt arrived cannot be seen: {error}") from error
    if live is None or revision_of(live) != revision.revision:
        return None
    if not is_managed(live, task.uid) or not belongs_to(live, task.instance, task.uid):
        return None
    uid: str = live["metadata"]["uid"]
    return uid


def _delete(driver: ClusterDriver, task: ClusterTask) -> Iterator[RefusedDeletion]:
    """Deletes what it can: one refusal holds up no other deletion."""
    for deletion in task.delete:
        try:
            driver.delete(deletion.reference, task.instance, revision=deletion.revision)
        except ClusterRefused as error:
            yield RefusedDeletion(deletion, str(error), isinstance(error, ForeignObject))
        except ClusterUnavailable:
            if deletion.expected:
                raise
            return
