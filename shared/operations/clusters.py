"""Clusters that workloads may be placed on. Their credentials are files that only functions read."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import JsonValue

    from shared.models.actor import Actor
    from shared.models.cluster import Cluster
    from shared.store.unit_of_work import UnitOfWork

FIRST_BACKOFF = timedelta(seconds=1)
LONGEST_BACKOFF = timedelta(seconds=10)


def register(work: UnitOfWork, cluster: Cluster, actor: Actor) -> None:
    """Adds a cluster, or replaces what is known of it."""
    work.catalogue.register_cluster(cluster)
    known: dict[str, JsonValue] = {
        "labels": dict(cluster.labels),
        "gpus": None if cluster.gpus is None else dict(cluster.gpus),
    }
    work.audit("cluster.registered", f"cluster/{cluster.name}", actor, **known)


def mark_away(work: UnitOfWork, name: str, reason: str, *, probed: bool = False) -> None:
    """Remembers that a cluster does not answer. Until it is probed, plans for it wait and nothing on it is observed.

    probed: whether this is what a probe found, which alone counts for a cluster that is away already.
    """
    work.catalogue.mark_away(name, reason, probed=probed, first=FIRST_BACKOFF, longest=LONGEST_BACKOFF)


def list_clusters(work: UnitOfWork) -> list[Cluster]:
    """Every cluster, by name."""
    return work.catalogue.clusters()
