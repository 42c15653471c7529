"""Observe revisions on their clusters, with no transaction open.

What somebody has stripped of its labels is given them back here: the watch of the API server selects by label, and so
does everybody who asks for Sentinel's objects.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shared.clusters.driver import ObservedObject
from shared.errors import ClusterAway, ClusterError, ClusterRefused, ClusterUnavailable
from shared.models.lifecycle import RevisionStatus
from shared.operations.apply import TASK_SECONDS
from shared.rollout.manifests import missing_identity
from shared.rollout.observation import belongs_to, is_managed, revision_of

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping
    from datetime import datetime

    from shared.clusters.driver import ClusterDriver
    from shared.models.deployment import Deployment
    from shared.models.node import GpuNode
    from shared.operations.apply import Clusters
    from shared.rollout.observation import Observation

logger = logging.getLogger("sentinel.observe")


@dataclass(frozen=True)
class TickPage:
    """One page of a tick. started_at: of the tick. page: counts from 1. full: there may be more on a next page."""

    started_at: datetime
    page: int
    full: bool


@dataclass(frozen=True)
class ObservationTask:
    """The revisions to observe. tick: the page of a tick, None for single revisions. clusters: whose nodes to read.

    probes: those of the clusters that were away, and are asked whether they answer again.
    """

    revisions: tuple[Deployment, ...]
    tick: TickPage | None = None
    clusters: tuple[str, ...] = ()
    probes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Observed:
    """What was observed. What a cluster that did not answer has, or would not show, is absent.

    revisions: by their ids. restored: those whose object got its labels and annotations back. nodes: those with GPUs of
    a cluster that answered, None where the credentials do not reach them. away: why a cluster does not answer.
    """

    revisions: Mapping[uuid.UUID, Observation]
    restored: frozenset[uuid.UUID] = frozenset()
    nodes: Mapping[str, tuple[GpuNode, ...] | None] = field(default_factory=dict)
    away: Mapping[str, str] = field(default_factory=dict)


def observe(clusters: Clusters, task: ObservationTask) -> Observed:
    """Observes each revision once. A cluster that does not answer is not asked again for this task.

    Nodes are read first: a cluster that hangs must not make what was seen on the others old.
    """
    seen: dict[uuid.UUID, Observation] = {}
    restored: set[uuid.UUID] = set()
    nodes, away = _nodes(clusters, task)
    for cluster in sorted({revision.cluster for revision in task.revisions} - away.keys()):
        there = [revision for revision in task.revisions if revision.cluster == cluster]
        try:
            driver = clusters.driver(cluster).within(TASK_SECONDS)
            for revision, found in zip(there, _observe_each(driver, there), strict=True):
                if isinstance(found, ClusterRefused):
                    logger.warning("revision %s of %s: %s", revision.revision, revision.workload_id, found)
                    continue
                seen[revision.id] = found
                if (again := _restore(driver, revision, found)) is not None:
                    seen[revision.id] = again
                    restored.add(revision.id)
        except ClusterUnavailable as error:
            logger.warning("%s", error)
            if isinstance(error, ClusterAway):
                away[cluster] = str(error)
    return Observed(seen, frozenset(restored), nodes, away)


def _observe_each(driver: ClusterDriver, revisions: list[Deployment]) -> list[Observation | ClusterRefused]:
    """What is observed of each. An object that cannot be understood is refused by itself."""
    wanted = [_observed(one) for one in revisions]
    try:
        return driver.observe_many(wanted)
    except ClusterError:
        raise
    except Exception:  # what an API server sent has no known form, and one object must not stop the others
        logger.exception("an object of cluster %s is not understood; each is observed by itself", revisions[0].cluster)
    found: list[Observation | ClusterRefused] = []
    for one in wanted:
        try:
            found += driver.observe_many([one])
        except ClusterError:
            raise
        except Exception as error:  # noqa: BLE001 - as above, and its message is logged
            found.append(ClusterRefused(f"{one.reference.kind} {one.reference.name}: {type(error).__name__}: {error}"))
    return found


def _observed(revision: Deployment) -> ObservedObject:
    return ObservedObject(revision.reference, str(revision.workload_id))


def _restore(driver: ClusterDriver, revision: Deployment, found: Observation) -> Observation | None:
    """What is observed once the object has its labels and annotations back; None where it lacks none."""
    live, uid = found.object, revision.reference.uid
    if live is None or revision.status is RevisionStatus.REMOVING or "deletionTimestamp" in live["metadata"]:
        return None
    if not is_managed(live, uid) or not belongs_to(live, str(revision.workload_id), uid):
        return None
    if revision_of(live) not in (None, revision.revision) or not missing_identity(live, revision.manifest):
        return None
    try:
        if driver.restore_identity(live, revision.manifest):
            return driver.observe(revision.reference, str(revision.workload_id))
    except ClusterRefused as error:
        logger.warning("the labels of revision %s of %s: %s", revision.revision, revision.workload_id, error)
    return None


def _nodes(clusters: Clusters, task: ObservationTask) -> tuple[dict[str, tuple[GpuNode, ...] | None], dict[str, str]]:
    """The nodes with GPUs of each cluster that answers, and why each other one does not."""
    nodes: dict[str, tuple[GpuNode, ...] | None] = {}
    away: dict[str, str] = {}
    for name in task.clusters:
        try:
            nodes[name] = clusters.driver(name).within(TASK_SECONDS).gpu_nodes()
        except ClusterRefused as error:
            logger.warning("the nodes of cluster %s cannot be read: %s", name, error)
            nodes[name] = None
        except ClusterUnavailable as error:
            logger.warning("the nodes of cluster %s cannot be read: %s", name, error)
            if name in task.probes or isinstance(error, ClusterAway):
                away[name] = str(error)
    return nodes, away
