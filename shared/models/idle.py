"""GPUs that workloads have been given and do not use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from shared.models.durations import format_iso8601
from shared.models.moments import rfc3339

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence
    from datetime import datetime

    from pydantic import JsonValue

LONGEST_WINDOW = timedelta(days=30)
"""Minutes are kept for as long, and hours for longer."""
SHORTEST_WINDOW = timedelta(minutes=5)


@dataclass(frozen=True)
class IdleRules:
    """When a GPU is idle: allocated all the window, and in no sample used by more than threshold_percent."""

    window: timedelta = timedelta(hours=6)
    threshold_percent: float = 5.0


DEFAULT_IDLE_RULES = IdleRules()


@dataclass(frozen=True)
class IdleGpu:
    """A GPU, or a MIG instance with a profile, that its workload does not use.

    workload_gpus: how many GPUs the workload holds on the cluster. highest_percent: the utilization of this one at
    most. usd_per_hour: what the workload holds costs an hour for each of its GPUs, with CPU and memory. usd: that for
    the window.
    """

    cluster: str
    node: str
    gpu: str
    product: str
    profile: str | None
    workload_id: uuid.UUID
    team: str
    workload: str
    workload_gpus: int
    highest_percent: float
    usd_per_hour: Decimal
    usd: Decimal

    def as_json(self) -> dict[str, JsonValue]:
        """The GPU for machines; money is text."""
        return {
            "cluster": self.cluster,
            "node": self.node,
            "gpu": self.gpu,
            "product": self.product,
            "profile": self.profile,
            "workload": str(self.workload_id),
            "team": self.team,
            "name": self.workload,
            "workloadGpus": self.workload_gpus,
            "highestUtilizationPercent": self.highest_percent,
            "usdPerHour": f"{self.usd_per_hour:.6f}",
            "usd": f"{self.usd:.6f}",
        }


@dataclass(frozen=True)
class IdleWarning:
    """What a workload was told whose GPUs are all idle. plan_id: of the plan that takes them; None before."""

    workload_id: uuid.UUID
    warned_at: datetime
    plan_id: uuid.UUID | None


@dataclass(frozen=True)
class ReclaimRules:
    """When idle GPUs are taken from a workload: when all are idle, and warning has passed since it was told."""

    idle: IdleRules
    warning: timedelta = timedelta(days=1)


@dataclass(frozen=True)
class IdleReport:
    """The idle GPUs of a window, the dearest first. gpus: how many there are; usd, usd_per_hour: of all of them."""

    rules: IdleRules
    until: datetime
    items: Sequence[IdleGpu]
    gpus: int
    usd: Decimal
    usd_per_hour: Decimal

    def as_json(self) -> dict[str, JsonValue]:
        """The report for machines."""
        return {
            "window": format_iso8601(self.rules.window),
            "thresholdPercent": self.rules.threshold_percent,
            "until": rfc3339(self.until),
            "items": [one.as_json() for one in self.items],
            "gpus": self.gpus,
            "usdPerHour": f"{self.usd_per_hour:.6f}",
            "usd": f"{self.usd:.6f}",
        }
