"""What clusters run, against what the ledger reserves. Nothing on a cluster is changed.

The chain goes on meanwhile, so a difference counts where Sentinel's records are the same after the observation as
before it. Where they are not, the workload is observed again.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.clusters.driver import ObservedObject
from shared.errors import ClusterRefused, ClusterUnavailable
from shared.models.lifecycle import SETTLED_REVISIONS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from shared.clusters.driver import ClusterDriver
    from shared.models.lifecycle import RevisionStatus
    from shared.operations.apply import Clusters
    from shared.rollout.observation import Observation
    from shared.store.ledger_records import ClusterAccount
    from shared.store.unit_of_work import Store

_ENDED_WITHIN = timedelta(days=7)
_OBSERVATIONS = 3
_PAGE = 500
_OBSERVED = 100  # their ids are in one label selector
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


def check(store: Store, clusters: Clusters) -> ClusterReport:
    """Pods that nothing is reserved for, and reservations that nothing runs for.

    A cluster that is unavailable is observed once, and noted. The records are read a page at a time.
    """
    unavailable: set[str] = set()
    report = ClusterReport([], [])
    after: _Key | None = None
    while page := _page(store, after):
        _compare(store, clusters, page, unavailable, report)
        after = list(page)[-1]
    return report


def _page(store: Store, after: _Key | None) -> dict[_Key, ClusterAccount]:
    with store.read() as work:
        return _by_key(work.ledger_records.on_clusters(work.now - _ENDED_WITHIN, after, _PAGE))


def _again(store: Store, keys: Collection[_Key]) -> dict[_Key, ClusterAccount]:
    with store.read() as work:
        workloads = {workload_id for workload_id, _ in keys}
        return _by_key(work.ledger_records.on_clusters_of(work.now - _ENDED_WITHIN, workloads))


def _by_key(accounts: Iterable[ClusterAccount]) -> dict[_Key, ClusterAccount]:
    return {(one.workload_id, one.cluster): one for one in accounts}


def _compare(
    store: Store,
    clusters: Clusters,
    expected: Mapping[_Key, ClusterAccount],
    unavailable: set[str],
    report: ClusterReport,
) -> None:
    for _ in range(_OBSERVATIONS):
        differing = _differing(clusters, expected, unavailable, report.notes)
        if not differing:
            return
        now = _again(store, differing.keys())
        same = {key for key in differing if key in now and _record(now[key]) == _record(expected[key])}
        report.discrepancies.extend(found for key, found in differing.items() if key in same)
        expected = {key: now[key] for key in differing if key in now and key not in same}
    report.notes.extend(f"{one.label}: not compared: it changed with every look" for one in expected.values())


def _record(account: ClusterAccount) -> tuple[uuid.UUID, RevisionStatus, int]:
    """What Sentinel's records say: the same before and after, or the observation does not count."""
    return account.revision_id, account.status, account.reserved_replicas


def _differing(
    clusters: Clusters, expected: Mapping[_Key, ClusterAccount], unavailable: set[str], notes: list[str]
) -> dict[_Key, ClusterDiscrepancy]:
    """How what clusters run differs. A cluster that does not answer joins `unavailable`."""
    found: dict[_Key, ClusterDiscrepancy] = {}
    for cluster in sorted({cluster for _, cluster in expected} - unavailable):
        there = {key: one for key, one in expected.items() if key[1] == cluster}
        try:
            seen = _observe(clusters.driver(cluster), list(there.values()))
        except ClusterUnavailable as error:
            unavailable.add(cluster)
            notes.append(f"not compared: {error}")
            continue
        for (key, one), observation in zip(there.items(), seen, strict=True):
            if isinstance(observation, ClusterRefused):
                notes.append(f"{one.label}: not compared: {observation}")
            elif (difference := _difference(one, observation)) is not None:
                found[key] = difference
    return found


def _observe(driver: ClusterDriver, accounts: Sequence[ClusterAccount]) -> list[Observation | ClusterRefused]:
    objects = [ObservedObject(one.reference, str(one.workload_id)) for one in accounts]
    parts = [objects[start : start + _OBSERVED] for start in range(0, len(objects), _OBSERVED)]
    return [observation for part in parts for observation in driver.observe_many(part)]


def _difference(one: ClusterAccount, seen: Observation) -> ClusterDiscrepancy | None:
    reserved = one.reserved_replicas
    if seen.occupying > reserved:
        return ClusterDiscrepancy(one.label, one.cluster, one.sku, reserved, seen.occupying)
    if one.status in SETTLED_REVISIONS and seen.gone and reserved:
        return ClusterDiscrepancy(one.label, one.cluster, one.sku, reserved, 0)
    return None
