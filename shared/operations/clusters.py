"""Clusters that workloads may be placed on. Their credentials are files that only functions read."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.errors import NotFound, WrongState
from shared.models.changes import changes
from shared.models.cluster import ClusterState

if TYPE_CHECKING:
    from pydantic import JsonValue

    from shared.models.actor import Actor
    from shared.models.cluster import Cluster, ClusterStatus
    from shared.models.page import Page, PageRequest
    from shared.store.unit_of_work import UnitOfWork

FIRST_BACKOFF = timedelta(seconds=1)
LONGEST_BACKOFF = timedelta(seconds=10)
FIRST_ID = uuid.UUID(int=0)
_LISTED = 5  # workloads that a refusal names
_COUNTED = 1000


def register(work: UnitOfWork, cluster: Cluster, actor: Actor) -> None:
    """Adds a cluster, or replaces what is known of it: it may have room for plans that wait."""
    before = work.catalogue.cluster(cluster.name)
    work.catalogue.register_cluster(cluster)
    work.queue.want_all()
    known = _registered(cluster)
    changed = changes(None if before is None else _registered(before), known)
    work.audit("cluster.registered", f"cluster/{cluster.name}", actor, **known, changes=changed)


def create(work: UnitOfWork, cluster: Cluster, actor: Actor) -> None:
    """Adds a cluster. Raises WrongState when there is one of its name."""
    if not work.catalogue.claim_name(cluster.name):
        raise WrongState(f"there is a cluster {cluster.name} already: update it")
    register(work, cluster, actor)


def cordon(work: UnitOfWork, name: str, actor: Actor) -> bool:
    """Places no more workloads on a cluster; what runs there stays. False when it is cordoned already.

    Raises NotFound, and WrongState for a cluster that is lost.
    """
    cluster = get_cluster(work, name)
    if cluster.state is ClusterState.LOST:
        raise WrongState(f"cluster {name} was declared lost, so nothing is placed on it already")
    return _become(work, cluster, ClusterState.CORDONED, "cluster.cordoned", actor)


def uncordon(work: UnitOfWork, name: str, actor: Actor) -> bool:
    """Places workloads on a cluster again, also on one that was lost. False when that was so already. Raises NotFound.

    What was left on a lost cluster belongs to no workload any more.
    """
    return _become(work, get_cluster(work, name), ClusterState.ACTIVE, "cluster.uncordoned", actor)


def remove(work: UnitOfWork, name: str, actor: Actor) -> None:
    """Forgets a cluster. Raises NotFound, and WrongState while a workload has something there."""
    work.catalogue.lock_clusters()
    cluster = get_cluster(work, name)
    holders = work.workloads.on_cluster(name, FIRST_ID, _COUNTED)
    if holders:
        count = f"{_COUNTED} or more" if len(holders) == _COUNTED else str(len(holders))
        some = ", ".join(label for _, label in holders[:_LISTED])
        raise WrongState(
            f"cluster {name} holds {count} workloads: {some}{', ...' if len(holders) > _LISTED else ''}; withdraw them"
            f" with `sentinel remove`, or give them up with `sentinel cluster declare-lost {name}`",
        )
    work.catalogue.remove_cluster(name)
    work.audit("cluster.removed", f"cluster/{name}", actor, changes=changes(_registered(cluster), None))


def mark_away(work: UnitOfWork, name: str, reason: str, *, probed: bool = False) -> None:
    """Remembers that a cluster does not answer. Until it is probed, plans for it wait and nothing on it is observed.

    probed: whether this is what a probe found, which alone counts for a cluster that is away already.
    """
    work.catalogue.mark_away(name, reason, probed=probed, first=FIRST_BACKOFF, longest=LONGEST_BACKOFF)


def page(work: UnitOfWork, request: PageRequest) -> Page[ClusterStatus]:
    """A page of the clusters, sorted by `name`."""
    return work.catalogue.page(request)


def get_status(work: UnitOfWork, name: str) -> ClusterStatus:
    """A cluster, and how it stands. Raises NotFound."""
    found = work.catalogue.status(name)
    if found is None:
        raise _not_found(name)
    return found


def get_cluster(work: UnitOfWork, name: str, *, lock: bool = False) -> Cluster:
    """A cluster. lock: nobody else changes it until this transaction ends. Raises NotFound."""
    cluster = work.catalogue.cluster(name, lock=lock)
    if cluster is None:
        raise _not_found(name)
    return cluster


def _not_found(name: str) -> NotFound:
    return NotFound(f"there is no cluster {name}; `sentinel cluster list` shows those that there are")


def _become(work: UnitOfWork, cluster: Cluster, state: ClusterState, action: str, actor: Actor) -> bool:
    if cluster.state is state:
        return False
    work.catalogue.set_state(cluster, state)
    changed = changes({"state": cluster.state}, {"state": state})
    work.audit(action, f"cluster/{cluster.name}", actor, before=cluster.state, changes=changed)
    return True


def _registered(cluster: Cluster) -> dict[str, JsonValue]:
    """What an operator says of a cluster."""
    return {"labels": dict(cluster.labels), "gpus": None if cluster.gpus is None else dict(cluster.gpus)}
