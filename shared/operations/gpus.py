"""GPUs as their agents have told of them last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.models.page import Page

if TYPE_CHECKING:
    from shared.models.gpu_status import GpuStatus
    from shared.models.page import PageRequest
    from shared.store.unit_of_work import UnitOfWork


def page(
    work: UnitOfWork, cluster: str | None, node: str | None, teams: frozenset[str] | None, request: PageRequest
) -> Page[GpuStatus]:
    """A page of the GPUs, by cluster, node and UUID. teams: whose workloads are named; None for all."""
    found = work.gpu_statuses.page(cluster, node, request)
    return Page([one.seen_by(teams) for one in found.items], found.next)
