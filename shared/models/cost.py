"""What workloads have cost, and how much of their GPUs they have used."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

from shared.models.moments import rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pydantic import JsonValue

_NOTHING = Decimal(0)


class CostDimension(StrEnum):
    """What costs are added up by."""

    TEAM = "team"
    WORKLOAD = "workload"
    SKU = "sku"
    CLUSTER = "cluster"


@dataclass(frozen=True)
class CostLine:
    """What one team, workload, SKU or cluster has cost in a period.

    key: the team, the workload's id, the SKU ("" for no GPU) or the cluster; "" as the cluster and the SKU of what was
    charged before those were written down. label: the same for people. gpu_usd: what of `usd` is of lines with GPUs,
    their CPU and memory included. used_gpu_hours: of the hours that agents have told of; None where they told of none.
    idle_usd: see shared.telemetry.cost. month_usd: since the month began (UTC). usd_per_hour: at this moment.
    forecast_usd: of the calendar month, when nothing changes. ceiling_usd: what a policy lets it cost a month.
    """

    key: str
    label: str
    usd: Decimal = _NOTHING
    gpu_usd: Decimal = _NOTHING
    gpu_hours: Decimal = _NOTHING
    used_gpu_hours: Decimal | None = None
    idle_usd: Decimal | None = None
    month_usd: Decimal = _NOTHING
    usd_per_hour: Decimal = _NOTHING
    forecast_usd: Decimal = _NOTHING
    ceiling_usd: Decimal | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """The line for machines; money and hours are text."""
        return {
            "key": self.key,
            "name": self.label,
            "usd": _text(self.usd),
            "allocatedGpuHours": _text(self.gpu_hours),
            "usedGpuHours": _text(self.used_gpu_hours),
            "idleUsd": _text(self.idle_usd),
            "usdPerHour": _text(self.usd_per_hour),
            "monthToDateUsd": _text(self.month_usd),
            "forecastUsd": _text(self.forecast_usd),
            "ceilingUsd": _text(self.ceiling_usd),
        }


@dataclass(frozen=True)
class CostReport:
    """What everything has cost from `since` until `until`, the dearest first, and the sum of it.

    lines: at most as many as were asked for; `total` counts all.
    """

    by: CostDimension
    since: datetime
    until: datetime
    lines: Sequence[CostLine]
    total: CostLine
    groups: int

    def as_json(self) -> dict[str, JsonValue]:
        """The report for machines."""
        return {
            "by": self.by.value,
            "since": rfc3339(self.since),
            "until": rfc3339(self.until),
            "items": [line.as_json() for line in self.lines],
            "total": self.total.as_json(),
            "groups": self.groups,
        }


def _text(value: Decimal | None) -> str | None:
    return None if value is None else f"{value:.6f}"
