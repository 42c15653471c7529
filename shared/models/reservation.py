"""What a workload holds on a cluster: the lines that the ledger reserves for it."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from pydantic import JsonValue

from shared.models.amounts import Amounts
from shared.models.moments import rfc3339


class ReservationState(StrEnum):
    """HELD: for a plan that was approved, and for a time. COMMITTED: since its execution has begun."""

    HELD = "held"
    COMMITTED = "committed"


@dataclass(frozen=True)
class Reservation:
    """The lines that one workload holds on one cluster, by GPU SKU; "" stands for no GPU. No lines release it."""

    workload_id: uuid.UUID
    cluster: str
    team: str
    lines: Mapping[str, Amounts]


@dataclass(frozen=True)
class ReservationLine:
    """One line of a reservation. expires_at: of one that is held. sku: "" for no GPU."""

    workload_id: uuid.UUID
    cluster: str
    sku: str
    team: str
    plan_id: uuid.UUID
    state: ReservationState
    amounts: Amounts
    expires_at: datetime | None

    def as_json(self) -> dict[str, JsonValue]:
        """The line for machines."""
        return {
            "workload": str(self.workload_id),
            "team": self.team,
            "cluster": self.cluster,
            "sku": self.sku,
            "plan": str(self.plan_id),
            "state": self.state.value,
            **_amounts_as_json(self.amounts),
            "expiresAt": rfc3339(self.expires_at),
        }


@dataclass(frozen=True)
class UsageLine:
    """What a team holds of a GPU SKU on a cluster, and what that has cost this calendar month (UTC) in US dollars."""

    team: str
    cluster: str
    sku: str
    amounts: Amounts
    month_to_date_usd: Decimal

    def as_json(self) -> dict[str, JsonValue]:
        """The line for machines."""
        return {
            "team": self.team,
            "cluster": self.cluster,
            "sku": self.sku,
            **_amounts_as_json(self.amounts),
            "monthToDateUsd": f"{self.month_to_date_usd:.6f}",
        }


@dataclass(frozen=True)
class LineFilter:
    """Which lines are listed: what is None takes any. teams: of which. state: of reservations alone."""

    team: str | None = None
    cluster: str | None = None
    workload_id: uuid.UUID | None = None
    teams: frozenset[str] | None = None
    state: ReservationState | None = None


def _amounts_as_json(amounts: Amounts) -> dict[str, JsonValue]:
    """CPU in millicores, memory in bytes."""
    return {
        "replicas": amounts.replicas,
        "cpu": amounts.cpu,
        "memory": amounts.memory,
        "gpus": amounts.gpus,
        "usdPerHour": str(amounts.usd_per_hour),
    }


class UsageKey(NamedTuple):
    """What usage is counted by; `sku` is "" for no GPU."""

    team: str
    cluster: str
    sku: str
