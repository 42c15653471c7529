"""The newest sample of each node, GPU by GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from shared.models.gpu_status import GpuStatus
from shared.store import pages
from shared.store.tables import workloads
from shared.store.telemetry_tables import agents, gpu_samples

if TYPE_CHECKING:
    from shared.models.page import Page, PageRequest
    from shared.store.rows import Row

_SAMPLE = gpu_samples.c
SORTS = {"name": (_SAMPLE.cluster, _SAMPLE.node, _SAMPLE.gpu)}
_MEASURED = ("utilization_percent", "memory_used_bytes", "memory_total_bytes", "temperature_celsius", "power_watts")
_TOLD = ("cluster", "node", "gpu", "index", "product", "state", "parent", "profile", "observed_at", "workload_id")


@dataclass(frozen=True)
class GpuStatusRows:
    """Readings of GPUs, inside one transaction."""

    connection: sa.Connection

    def page(self, cluster: str | None, node: str | None, request: PageRequest) -> Page[GpuStatus]:
        """A page of the GPUs, by cluster, node and UUID. cluster, node: None for all."""
        statement = _NEWEST
        if cluster is not None:
            statement = statement.where(_SAMPLE.cluster == cluster)
        if node is not None:
            statement = statement.where(_SAMPLE.node == node)
        return pages.fetch(self.connection, statement, SORTS, request, _status)


def _status(row: Row) -> GpuStatus:
    return GpuStatus(**row._mapping)


_NAME = sa.func.concat_ws("/", workloads.c.team, workloads.c.namespace, workloads.c.name)
# The key of a sample begins with cluster, node and time, so each node costs one look into the index.
_NEWEST = (
    sa.select(
        *(_SAMPLE[name] for name in (*_TOLD, *_MEASURED)),
        _SAMPLE.containers.is_not(None).label("allocated"),
        workloads.c.team,
        sa.case((workloads.c.id.is_not(None), _NAME)).label("workload"),
    )
    .join_from(
        agents,
        gpu_samples,
        sa.and_(
            _SAMPLE.cluster == agents.c.cluster,
            _SAMPLE.node == agents.c.node,
            _SAMPLE.observed_at == agents.c.observed_at,
        ),
    )
    .outerjoin(workloads, workloads.c.id == _SAMPLE.workload_id)
)
