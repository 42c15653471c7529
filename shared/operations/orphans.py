"""Orphans: objects on a cluster that are managed by Sentinel and that no workload owns. Sweeps find them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import NotFound
from shared.models.changes import changes
from shared.operations.clusters import get_cluster

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.models.actor import Actor
    from shared.models.sweep import Orphan
    from shared.store.unit_of_work import UnitOfWork

MOST = 10_000
"""How many orphans one request takes."""


def list_orphans(work: UnitOfWork, cluster: str | None, limit: int) -> list[Orphan]:
    """At most `limit` orphans of a cluster, or of all; by cluster, kind, namespace and name. Raises NotFound."""
    if cluster is not None:
        get_cluster(work, cluster)
    return work.sweeps.orphans(cluster, limit=limit)


def request_removal(work: UnitOfWork, cluster: str, names: Sequence[str] | None, actor: Actor) -> list[Orphan]:
    """Lets the cluster's next sweep, which begins with the next tick, delete orphans; None for all of them.

    names: KIND/NAMESPACE/NAME. Raises NotFound for a name that is no orphan there; nothing is requested then.
    """
    known = {full_name(one): one for one in list_orphans(work, cluster, MOST)}
    unknown = sorted(set(names or ()) - known.keys())
    if unknown:
        raise NotFound(
            f"{unknown[0]} is no orphan of cluster {cluster}; `sentinel cluster orphans {cluster}` shows those that"
            " the last sweep found"
        )
    chosen = list(known.values()) if names is None else [known[name] for name in sorted(set(names))]
    if chosen:
        work.sweeps.request_removal([one.id for one in chosen], str(actor))
        work.sweeps.make_due(cluster, work.now)
        objects = [full_name(one) for one in chosen]
        before = {full_name(one): {"removal_requested_by": one.requested_by or None} for one in chosen}
        changed = changes(before, {name: {"removal_requested_by": str(actor)} for name in objects})
        work.audit("orphan.removal_requested", f"cluster/{cluster}", actor, objects=[*objects], changes=changed)
    return chosen


def full_name(orphan: Orphan) -> str:
    """KIND/NAMESPACE/NAME."""
    reference = orphan.reference
    return f"{reference.kind}/{reference.namespace}/{reference.name}"
