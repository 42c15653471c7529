"""What the agent of a node has told last of each of its GPUs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shared.models.moments import rfc3339

if TYPE_CHECKING:
    import uuid
    from datetime import datetime

    from pydantic import JsonValue


@dataclass(frozen=True)
class GpuStatus:
    """A GPU, or a MIG instance with a profile and its GPU as parent, in the newest sample of its node.

    allocated: whether a container has been given it. workload_id, team, workload: whose that is, where Sentinel knows.
    The measured values are None where the GPU does not have them.
    """

    cluster: str
    node: str
    gpu: str
    index: int
    product: str
    state: str
    parent: str | None
    profile: str | None
    observed_at: datetime
    allocated: bool
    workload_id: uuid.UUID | None
    team: str | None
    workload: str | None
    utilization_percent: float | None
    memory_used_bytes: float | None
    memory_total_bytes: float | None
    temperature_celsius: float | None
    power_watts: float | None

    def seen_by(self, teams: frozenset[str] | None) -> GpuStatus:
        """Without the workload, unless it is of one of the teams. None: all teams."""
        if teams is None or self.team in teams:
            return self
        return replace(self, workload_id=None, team=None, workload=None)

    def as_json(self) -> dict[str, JsonValue]:
        """The GPU for machines; times are RFC 3339 in UTC."""
        return {
            "cluster": self.cluster,
            "node": self.node,
            "gpu": self.gpu,
            "index": self.index,
            "product": self.product,
            "state": self.state,
            "parent": self.parent,
            "profile": self.profile,
            "observedAt": rfc3339(self.observed_at),
            "allocated": self.allocated,
            "workload": None if self.workload_id is None else str(self.workload_id),
            "team": self.team,
            "name": self.workload,
            "utilizationPercent": self.utilization_percent,
            "memoryUsedBytes": self.memory_used_bytes,
            "memoryTotalBytes": self.memory_total_bytes,
            "temperatureCelsius": self.temperature_celsius,
            "powerWatts": self.power_watts,
        }
