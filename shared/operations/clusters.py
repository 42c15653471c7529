"""Clusters that workloads may be placed on. Their credentials are files that only functions read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import JsonValue

    from shared.models.actor import Actor
    from shared.models.cluster import Cluster
    from shared.store.unit_of_work import UnitOfWork


def register(work: UnitOfWork, cluster: Cluster, actor: Actor) -> None:
    """Adds a cluster, or replaces what is known of it."""
    work.catalogue.register_cluster(cluster)
    known: dict[str, JsonValue] = {
        "labels": dict(cluster.labels),
        "gpus": None if cluster.gpus is None else dict(cluster.gpus),
    }
    work.audit("cluster.registered", f"cluster/{cluster.name}", actor, **known)


def list_clusters(work: UnitOfWork) -> list[Cluster]:
    """Every cluster, by name."""
    return work.catalogue.clusters()
