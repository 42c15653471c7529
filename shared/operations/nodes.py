"""Nodes: which take no new pods, because an operator says so or because their hardware has failed.

An excluded node gets no pod of a plan that is executed from then on. What runs there stays: a fault reschedules it, see
shared.operations.faults; an operator withdraws or restarts it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import NotFound
from shared.models.changes import changes
from shared.models.node import Node
from shared.operations.clusters import get_cluster

if TYPE_CHECKING:
    from shared.models.actor import Actor
    from shared.models.node import NodeFilter
    from shared.models.page import Page, PageRequest
    from shared.store.unit_of_work import UnitOfWork

PROVEN_AT_ONCE = 50


def subject(cluster: str, name: str) -> str:
    """What the audit log calls a node."""
    return f"node/{cluster}/{name}"


def page(work: UnitOfWork, wanted: NodeFilter, request: PageRequest) -> Page[Node]:
    """A page of the nodes, sorted by `name`, which is within their cluster."""
    return work.nodes.page(wanted, request)


def get(work: UnitOfWork, cluster: str, name: str) -> Node:
    """A node. Raises NotFound for one that nobody has spoken of."""
    found = work.nodes.get(cluster, name)
    if found is None:
        raise NotFound(
            f"there is no node {name} of cluster {cluster}; `sentinel nodes list` shows those that there are"
        )
    return found


def exclude(work: UnitOfWork, cluster: str, name: str, reason: str, actor: Actor) -> Node:
    """Gives a node no new pods until an operator clears it. It need not be known. Raises NotFound for the cluster."""
    get_cluster(work, cluster)
    before = work.nodes.get(cluster, name, lock=True)
    if before is None or before.excluded_at is None:
        work.nodes.exclude(cluster, name, str(actor), reason, work.now)
        _audit(work, "node.excluded", before or Node(cluster, name), actor, reason=reason)
    return get(work, cluster, name)


def clear(work: UnitOfWork, cluster: str, name: str, actor: Actor) -> Node:
    """Gives a node pods again, whatever has excluded it. Raises NotFound.

    Faults that are known stay as they are; only one that is new excludes it again. There may be room for plans that
    wait.
    """
    before = work.nodes.get(cluster, name, lock=True)
    if before is not None and before.excluded:
        work.nodes.clear(cluster, name)
        _audit(work, "node.cleared", before, actor)
        work.queue.want_all()
    return get(work, cluster, name)


def exclude_at_fault(work: UnitOfWork, cluster: str, name: str, actor: Actor, *, fault: str, reason: str) -> None:
    """A fault of its hardware excludes a node, until the node is proven again or an operator clears it."""
    before = work.nodes.get(cluster, name, lock=True)
    if work.nodes.mark_faulty(cluster, name, work.now):
        _audit(work, "node.excluded", before or Node(cluster, name), actor, fault=fault, reason=reason)


def clear_proven(work: UnitOfWork, actor: Actor) -> None:
    """Ends exclusions by faults that were over for long enough. The queue's next looks find the room that is there."""
    for before in work.nodes.take_proven(work.now, PROVEN_AT_ONCE):
        _audit(work, "node.proven", before, actor)


def _audit(work: UnitOfWork, action: str, before: Node, actor: Actor, **detail: str) -> None:
    after = work.nodes.get(before.cluster, before.name) or before
    changed = changes(before.exclusion, after.exclusion)
    work.audit(action, subject(before.cluster, before.name), actor, **detail, changes=changed)
