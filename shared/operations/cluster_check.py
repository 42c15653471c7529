"""What clusters run, against what the ledger reserves. Nothing on a cluster is changed.

The chain goes on meanwhile, so a difference counts where Sentinel's records are the same after the observation as
before it. Where they are not, the workload is observed again.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.errors import ClusterRefused, ClusterUnavailable
from shared.models.lifecycle import SETTLED_REVISIONS
from shared.operations import ledger_check

if TYPE_CHECKING:
    from shared.clusters.directory import ClusterDirectory
    from shared.models.deployment import Deployment
    from shared.models.lifecycle import RevisionStatus
    from shared.store.unit_of_work import Store

_ENDED_WITHIN = timedelta(days=7)
_OBSERVATIONS = 3
_Key = tuple[uuid.UUID, str]  # workload and cluster


@dataclass(frozen=True)
class ClusterDiscrepancy:
    """A workload whose pods on a cluster are more than is reserved for them, or are all gone.

    occupying: pods that hold resources; 0 when nothing is left of the object.
    """

    label: str
    cluster: str
    sku: str
    reserved_replicas: int
    occupying: int


@dataclass(frozen=True)
class ClusterReport:
    """discrepancies: in the order of workloads and clusters. notes: what was not compared, and why, a line each."""

    discrepancies: list[ClusterDiscrepancy]
    notes: list[str]


@dataclass(frozen=True)
class _Expected:
    """A revision to look for on its cluster, and how many replicas its workload has reserved there."""

    label: str
    revision: Deployment
    reserved_replicas: int
    live: bool

    @property
    def record(self) -> tuple[uuid.UUID, RevisionStatus, int]:
        """What Sentinel's records say of it: the same before and after, or the observation does not count."""
        return self.revision.id, self.revision.status, self.reserved_replicas


def check(store: Store, clusters: ClusterDirectory) -> ClusterReport:
    """Pods that nothing is reserved for, and reservations that nothing runs for.

    A cluster that is unavailable is observed once, and noted.
    """
    unavailable: set[str] = set()
    report = ClusterReport([], [])
    expected = _expected(store)
    for _ in range(_OBSERVATIONS):
        differing = {
            key: found
            for key, one in expected.items()
            if (found := _compare(clusters, one, unavailable, report.notes)) is not None
        }
        if not differing:
            return report
        now = _expected(store)
        same = {key for key in differing if key in now and now[key].record == expected[key].record}
        report.discrepancies.extend(found for key, found in differing.items() if key in same)
        expected = {key: now[key] for key in differing if key in now and key not in same}
    report.notes.extend(f"{one.label}: not compared: it changed with every look" for one in expected.values())
    return report


def _expected(store: Store) -> dict[_Key, _Expected]:
    """What to look for on clusters: what is live, and what ended lately and may have left pods behind."""
    found: dict[_Key, _Expected] = {}
    with store.read() as work:
        for account in ledger_check.accounts(work):
            newest = {revision.cluster: revision for revision in account.live}
            for cluster, revision in sorted(newest.items()):
                replicas = account.replicas_at(cluster)
                found[account.workload_id, cluster] = _Expected(account.label, revision, replicas, live=True)
        ended = work.deployments.newest_ended(work.now - _ENDED_WITHIN)
        workloads = work.workloads.get_many([revision.workload_id for revision in ended])
        for revision in ended:
            if (workload := workloads.get(revision.workload_id)) is None:
                continue
            reserved = work.ledger.reserved(revision.workload_id, revision.cluster)
            replicas = sum(amounts.replicas for amounts in reserved.values())
            label = workload.spec.full_name
            found[revision.workload_id, revision.cluster] = _Expected(label, revision, replicas, live=False)
    return found


def _compare(
    clusters: ClusterDirectory, one: _Expected, unavailable: set[str], notes: list[str]
) -> ClusterDiscrepancy | None:
    """How what a cluster runs of one workload differs. A cluster that does not answer joins `unavailable`."""
    revision = one.revision
    if revision.cluster in unavailable:
        return None
    try:
        seen = clusters.driver(revision.cluster).observe(revision.reference, str(revision.workload_id))
    except ClusterUnavailable as error:
        unavailable.add(revision.cluster)
        notes.append(f"not compared: {error}")
        return None
    except ClusterRefused as error:
        notes.append(f"{one.label}: not compared: {error}")
        return None
    reserved = one.reserved_replicas
    if seen.occupying > reserved:
        return ClusterDiscrepancy(one.label, revision.cluster, revision.sku, reserved, seen.occupying)
    if one.live and seen.gone and revision.status in SETTLED_REVISIONS and reserved:
        return ClusterDiscrepancy(one.label, revision.cluster, revision.sku, reserved, 0)
    return None
