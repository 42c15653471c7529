"""Sweep clusters: everything that a cluster lists as Sentinel's is compared with what Sentinel knows, page by page.

A sweep decides nothing. It reads lists of 500 objects, compares each with its revision, and puts under suspicion what
differs; see shared.rollout.drift. The tick then observes each suspect by itself, and verification decides. So a list
that is a minute old, or an order of names that is not the database's, costs a look and does no harm.

One page is read at a time: the cluster's row says where the sweep goes on, and a reader claims that page. Each page
emits an event for the next one, up to CHAIN of them; the tick goes on from there, and where an event was lost. A sweep
of a cluster begins a minute after the one before, or later: a cluster rests for as long as its sweep took.

What no workload owns is an orphan. It is written down, and deleted only when an operator asks for that.
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.errors import ClusterAway, ClusterRefused, ClusterUnavailable
from shared.models.changes import changes
from shared.models.deployment import ObjectReference
from shared.models.lifecycle import SETTLED_REVISIONS, RevisionStatus
from shared.models.sweep import START, SWEPT_KINDS, ListedRange, Orphan, SweepCursor
from shared.operations.apply import TASK_SECONDS
from shared.operations.clusters import mark_away
from shared.rollout.drift import SweepFinding, finding
from shared.rollout.observation import instance_of, revision_of
from shared.telemetry.metrics import ROWS_SET_ASIDE, SWEEP_FINDINGS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from shared.clusters.driver import ClusterDriver, ObjectPage
    from shared.models.actor import Actor
    from shared.models.deployment import Deployment
    from shared.models.sweep import Key
    from shared.operations.apply import Clusters
    from shared.store.unit_of_work import UnitOfWork

logger = logging.getLogger("sentinel.sweep")

CHAIN = 20
"""Pages that follow one tick; an event may go through 32 hops."""

SWEEPS_AT_ONCE = 4
"""Clusters whose sweeps one tick goes on with: each page takes some ten megabytes."""

SWEEP_INTERVAL = timedelta(seconds=60)
CLAIM = timedelta(seconds=TASK_SECONDS + 5)
ANNOUNCED = timedelta(seconds=15)
_RETRY = timedelta(seconds=10)
_MOST_MISSING = 2000  # rows that one statement puts under suspicion
_REMOVALS = 20
_EXAMINED = (*SETTLED_REVISIONS, RevisionStatus.UNHEALTHY)


@dataclass(frozen=True)
class SweepStep:
    """The page of a cluster's sweep to read. chain: how many pages were read since the tick, this one included."""

    cluster: str
    page: int
    chain: int


@dataclass(frozen=True)
class SweepTask:
    """A page that is claimed, and the orphans to delete before it is read."""

    cursor: SweepCursor
    chain: int
    removals: tuple[Orphan, ...] = ()


@dataclass(frozen=True)
class SweptPage:
    """What was read; None for a page that could not be. removed: the orphans that are gone.

    refused: whether the credentials do not reach this far. away: why the cluster does not answer.
    """

    page: ObjectPage | None
    removed: tuple[uuid.UUID, ...] = ()
    refused: bool = False
    away: str = ""


def due(work: UnitOfWork) -> list[SweepStep]:
    """The sweeps that a tick goes on with."""
    found = work.sweeps.take_due(work.now, work.now + ANNOUNCED, SWEEPS_AT_ONCE)
    return [SweepStep(cluster, page, 1) for cluster, page in found]


def claim(work: UnitOfWork, step: SweepStep) -> SweepTask | None:
    """The task for a page; None when somebody else reads it, or has."""
    cursor = work.sweeps.start_reading(step.cluster, step.page, work.now, CLAIM)
    if cursor is None:
        return None
    requested = work.sweeps.orphans(step.cluster, requested=True, limit=_REMOVALS) if cursor.is_first else []
    return SweepTask(cursor, step.chain, tuple(_still_orphaned(work, step.cluster, requested)))


def read(clusters: Clusters, task: SweepTask) -> SweptPage:
    """Reads a page, with no transaction open."""
    cursor = task.cursor
    removed: list[uuid.UUID] = []
    try:
        driver = clusters.driver(cursor.cluster).within(TASK_SECONDS)
        removed += [one.id for one in task.removals if _delete(driver, one)]
        return SweptPage(driver.list_managed(cursor.kind, cursor.namespace, cursor.token), tuple(removed))
    except ClusterRefused as error:
        logger.warning("a page of cluster %s cannot be read: %s", cursor.cluster, error)
        return SweptPage(None, tuple(removed), refused=True)
    except ClusterUnavailable as error:
        logger.warning("a page of cluster %s cannot be read: %s", cursor.cluster, error)
        return SweptPage(None, tuple(removed), away=str(error) if isinstance(error, ClusterAway) else "")


def conclude(work: UnitOfWork, task: SweepTask, swept: SweptPage, actor: Actor) -> SweepStep | None:
    """Compares a page, and says which page comes next; None when the tick goes on later."""
    cursor = task.cursor
    for orphan in task.removals:
        if orphan.id in swept.removed:
            _forget(work, orphan, actor)
    if swept.away:
        mark_away(work, cursor.cluster, swept.away)
    if not work.sweeps.hold(cursor):
        return None
    if swept.page is None and not swept.refused:
        work.sweeps.move(cursor, work.now + _RETRY)
        return None
    at, wait = _next(work, cursor, swept)
    following = replace(at, page=cursor.page + 1)
    goes_on = wait is None and task.chain < CHAIN
    work.sweeps.move(following, work.now + (ANNOUNCED if goes_on else wait or timedelta(0)))
    return SweepStep(cursor.cluster, following.page, task.chain + 1) if goes_on else None


def _next(work: UnitOfWork, cursor: SweepCursor, swept: SweptPage) -> tuple[SweepCursor, timedelta | None]:
    """Where the sweep goes on, and how long it rests before; None for not at all."""
    page = swept.page
    if page is None:  # refused
        return _next_list(work, cursor)
    if page.expired:
        return replace(cursor, token="", after=START), None
    keys = [_key(live) for live in page.objects]
    until = work.sweeps.later(keys[-1], cursor.after) if page.next_token and keys else None
    if page.next_token and not keys:  # the list goes on from a later state
        return replace(cursor, token=page.next_token), None
    _compare(work, cursor, page.objects)
    listed = ListedRange(cursor.cluster, cursor.kind, cursor.namespace, cursor.after, until, keys, cursor.started_at)
    missing = work.objects.missing(listed, _MOST_MISSING)
    work.deployments.suspect(missing.keys(), work.now)
    _count(work, cursor, SweepFinding.MISSING, len(missing))
    if len(missing) == _MOST_MISSING:
        *_, last = missing.values()
        return replace(cursor, after=last), None  # the same page once more: there may be others behind it
    if until is not None:
        return replace(cursor, token=page.next_token, after=until), None
    if not cursor.namespace:
        work.sweeps.forget_unseen(cursor.cluster, cursor.kind, cursor.started_at)
        return _next_kind(work, cursor)
    return _next_list(work, cursor)


def _next_list(work: UnitOfWork, cursor: SweepCursor) -> tuple[SweepCursor, timedelta | None]:
    """The list of the next namespace, for credentials that do not reach over all of them; or the next kind."""
    namespace = work.sweeps.next_namespace(cursor.cluster, cursor.kind, cursor.namespace)
    if namespace is None:
        return _next_kind(work, cursor)
    return replace(cursor, namespace=namespace, token="", after=START), None


def _next_kind(work: UnitOfWork, cursor: SweepCursor) -> tuple[SweepCursor, timedelta | None]:
    left = SWEPT_KINDS[SWEPT_KINDS.index(cursor.kind) + 1 :]
    start = replace(cursor, kind=left[0] if left else SWEPT_KINDS[0], namespace="", token="", after=START)
    if left:
        return start, None
    took = work.now - cursor.started_at
    return start, max(took, SWEEP_INTERVAL - took)


def _compare(work: UnitOfWork, cursor: SweepCursor, objects: Sequence[Mapping[str, Any]]) -> None:
    """Puts revisions under suspicion whose object differs, and writes down objects that no workload owns."""
    by_key = {_key(live): live for live in objects}
    found: dict[SweepFinding, list[uuid.UUID]] = {}
    owned: set[Key] = set()
    for revision in work.objects.expected_revisions(cursor.cluster, cursor.kind, list(by_key)):
        key = (revision.reference.namespace, revision.reference.name)
        live = by_key[key]
        if instance_of(live) not in (None, str(revision.workload_id)):
            continue
        owned.add(key)
        if revision.status in _EXAMINED and (what := _examine(revision, live, work)) is not None:
            found.setdefault(what, []).append(revision.id)
    for what, ids in sorted(found.items()):
        work.deployments.suspect(ids, work.now)
        _count(work, cursor, what, len(ids))
    strays = _strays(work, cursor, [live for key, live in by_key.items() if key not in owned])
    work.sweeps.keep_orphans(strays, work.now)
    _count(work, cursor, SweepFinding.ORPHAN, len(strays))


def _examine(revision: Deployment, live: Mapping[str, Any], work: UnitOfWork) -> SweepFinding | None:
    try:
        return finding(revision, live, work.now)
    except Exception:  # what an API server sent has no known form, and one object must not stop the others
        logger.exception("revision %s of workload %s cannot be compared", revision.revision, revision.workload_id)
        work.measurements.count(ROWS_SET_ASIDE, "deployments")
        return None


def _strays(work: UnitOfWork, cursor: SweepCursor, objects: Sequence[Mapping[str, Any]]) -> list[Orphan]:
    """The objects whose workload, if there is one, knows nothing of them, and did nothing to them since the sweep
    began.
    """
    owners = {owner for live in objects if (owner := _workload_id(live)) is not None}
    touched = work.objects.touched_since(owners, cursor.started_at) if owners else set()
    return [
        Orphan(
            id=uuid.uuid4(),
            cluster=cursor.cluster,
            reference=ObjectReference(cursor.kind, *_key(live), uid=live["metadata"].get("uid")),
            instance=instance_of(live) or "",
            revision=revision_of(live),
            found_at=work.now,
        )
        for live in objects
        if _key(live) not in touched and "deletionTimestamp" not in live["metadata"]
    ]


def _still_orphaned(work: UnitOfWork, cluster: str, orphans: Sequence[Orphan]) -> list[Orphan]:
    """Those that no workload has come to own since."""
    left = []
    for one in orphans:
        key = (one.reference.namespace, one.reference.name)
        owners = work.objects.expected_revisions(cluster, one.reference.kind, [key])
        if any(str(owner.workload_id) == one.instance for owner in owners):
            work.sweeps.forget_orphans([one.id])
        else:
            left.append(one)
    return left


def _delete(driver: ClusterDriver, orphan: Orphan) -> bool:
    """Whether it is gone. One that is somebody else's by now stays."""
    try:
        driver.delete(orphan.reference, orphan.instance, revision=orphan.revision)
    except ClusterRefused as error:
        logger.warning("an orphan cannot be deleted: %s", error)
        return False
    return True


def _forget(work: UnitOfWork, orphan: Orphan, actor: Actor) -> None:
    work.sweeps.forget_orphans([orphan.id])
    reference = orphan.reference
    work.audit(
        "orphan.removed",
        f"cluster/{orphan.cluster}",
        actor,
        object=f"{reference.kind} {reference.namespace}/{reference.name}",
        requested_by=orphan.requested_by,
        changes=changes({**asdict(reference), "instance": orphan.instance, "revision": orphan.revision}, None),
    )


def _count(work: UnitOfWork, cursor: SweepCursor, what: SweepFinding, number: int) -> None:
    if number:
        work.measurements.count(SWEEP_FINDINGS, cursor.cluster, what.value, number=number)


def _key(live: Mapping[str, Any]) -> Key:
    return live["metadata"].get("namespace", ""), live["metadata"]["name"]


def _workload_id(live: Mapping[str, Any]) -> uuid.UUID | None:
    try:
        return uuid.UUID(instance_of(live) or "")
    except ValueError:
        return None
