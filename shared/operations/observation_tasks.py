"""What to observe: the revisions that an event is about, or the next page of a tick.

A task names revisions and reads no cluster; see shared.operations.observe for that. What was observed is concluded by
shared.operations.verify.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.errors import OperationRefused
from shared.models.lifecycle import OBSERVED_REVISIONS, WATCHED_REVISIONS, RevisionStatus
from shared.operations.observe import ObservationTask, TickPage

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from shared.models.deployment import Deployment
    from shared.store.unit_of_work import UnitOfWork

PAGE = 50
RECENT = timedelta(seconds=2)
"""A revision that was observed this recently is left to the next tick."""

NOTICES_AT_ONCE = 10
NOTICE_INTERVAL = timedelta(seconds=5)
"""A revision is observed because of notices ten times in a row, and then as often as the tick comes."""

NODES_INTERVAL = timedelta(minutes=10)
"""How often the nodes of a cluster are read: their GPU products change when somebody adds nodes, or a driver."""

CLUSTERS_PAGE = 5
STALE = timedelta(minutes=1)
"""A page of a tick that comes this late is dropped: the ticks since have observed the oldest first."""


def for_revision(work: UnitOfWork, deployment_id: uuid.UUID) -> ObservationTask | None:
    """One revision, or None when it has ended, is healthy already or its cluster is away.

    Notices of the API server often find a revision healthy before the event that says that it was applied is here.
    Raises OperationRefused for one that does not exist.
    """
    found = work.deployments.reachable([deployment_id])
    if not found and work.deployments.get(deployment_id) is None:
        raise OperationRefused("deployment", f"there is no deployment {deployment_id}")
    return _task([one for one in _open(found) if one.status is not RevisionStatus.HEALTHY])


def for_object(
    work: UnitOfWork, kind: str, namespace: str, name: str, changed_at: datetime | None
) -> ObservationTask | None:
    """The revisions that an object may stand for; None when there are none, or when none needs another observation.

    changed_at: when the change was noticed, None where that is not known. An observation since then, made just now,
    has seen the change; the tick makes up for a clock that is behind. A rollout of 1,000 pods makes thousands of
    changes: after the first few, the tick sees what comes of them.
    """
    found = work.objects.live_revisions(kind, namespace, name)
    unseen = [one for one in found if not _was_seen(one, changed_at, work.now)]
    if not unseen:
        return None
    granted = work.deployments.spend_notices([one.id for one in unseen], work.now, NOTICE_INTERVAL, NOTICES_AT_ONCE)
    if late := [one.id for one in unseen if one.id not in granted]:
        work.deployments.suspect(late, work.now)
    return _task([one for one in unseen if one.id in granted])


def for_deletion(work: UnitOfWork, kind: str, namespace: str, name: str) -> ObservationTask | None:
    """The revisions that an object stood for; None when there are none."""
    return _task(work.objects.live_revisions(kind, namespace, name))


def for_workloads(work: UnitOfWork, ids: Collection[str]) -> ObservationTask | None:
    """The revisions of up to a page of workloads. Raises OperationRefused for what is not a workload's id."""
    found: list[Deployment] = []
    for text in sorted(set(ids))[:PAGE]:
        found += _open(work.deployments.live(workload_of(text)))
    return _task(work.deployments.reachable([one.id for one in found]))


def workload_of(text: str) -> uuid.UUID:
    """Raises OperationRefused for what is not a workload's id."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise OperationRefused("workloads", f"{text[:60]!r} is not a workload's id") from None


def for_tick(work: UnitOfWork) -> ObservationTask:
    """The first page of a tick: watched revisions, and those that need a closer look."""
    return _page(work, work.now, 1)


def for_page(work: UnitOfWork, started_at: datetime, page: int) -> ObservationTask | None:
    """A further page, or None when newer ticks have long taken over. Raises OperationRefused for what no tick says."""
    if page < 1 or started_at.tzinfo is None or started_at > work.now:
        raise OperationRefused(
            "", "no tick continues like this: page must be 1 or more, startedAt a moment in the past"
        )
    if work.now - started_at > STALE:
        return None
    return _page(work, started_at, page)


def _task(revisions: Sequence[Deployment]) -> ObservationTask | None:
    return ObservationTask(tuple(revisions)) if revisions else None


def _open(revisions: Sequence[Deployment]) -> list[Deployment]:
    return [one for one in revisions if one.status in OBSERVED_REVISIONS]


def _was_seen(revision: Deployment, changed_at: datetime | None, now: datetime) -> bool:
    observed_at = revision.observed_at
    if changed_at is None or observed_at is None or revision.applied_at is None:
        return False
    # A revision is given to verification with an `observed_at` before anybody has observed it.
    return observed_at > revision.applied_at and changed_at <= observed_at and now - observed_at < RECENT


def _page(work: UnitOfWork, started_at: datetime, page: int) -> ObservationTask:
    watched = work.deployments.oldest_observed(WATCHED_REVISIONS, started_at - RECENT, PAGE)
    doubtful = work.deployments.doubtful(started_at - RECENT, PAGE)
    tick = TickPage(started_at, page, full=PAGE in (len(watched), len(doubtful)))
    clusters: dict[str, bool] = {}
    if page == 1:
        clusters = work.catalogue.take_unread(work.now, work.now - NODES_INTERVAL, CLUSTERS_PAGE)
    probes = frozenset(name for name in clusters if clusters[name])
    return ObservationTask((*watched, *doubtful), tick, tuple(clusters), probes)
