"""Faults of GPUs and nodes, and what follows from them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from shared.models.moments import rfc3339
from shared.models.telemetry import Blame, FaultKind, FaultState

if TYPE_CHECKING:
    from pydantic import JsonValue

SLOWING = frozenset({FaultKind.THERMAL_THROTTLING, FaultKind.POWER_THROTTLING, FaultKind.DEGRADED})
"""Faults under which a GPU computes on, but slower than it should."""

Pod = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True)
class FaultReport:
    """What an agent says of a fault: that it begins, or is over. gpu: None for a fault of the whole node.

    id: the same for both. action: what NVIDIA says to do. observed_at: by the agent's clock. pods: those that were
    given the GPU, or GPUs of the node.
    """

    id: uuid.UUID
    cluster: str
    node: str
    gpu: str | None
    kind: FaultKind
    state: FaultState
    blame: Blame
    observed_at: datetime
    xid: int | None = None
    action: str | None = None
    message: str = ""
    evidence: Mapping[str, JsonValue] = field(default_factory=dict)
    pods: frozenset[Pod] = frozenset()

    @property
    def of_hardware(self) -> bool:
        """Whether the GPU or the node is to blame, and not what runs there."""
        return self.blame is not Blame.POD


@dataclass(frozen=True)
class OpenFault:
    """A fault that is not over. raised_at: when Sentinel was told."""

    id: uuid.UUID
    gpu: str | None
    kind: FaultKind
    blame: Blame
    xid: int | None
    message: str
    raised_at: datetime

    def as_json(self) -> dict[str, JsonValue]:
        """The fault for machines; `gpu` is null for a fault of the whole node."""
        return {
            "id": str(self.id),
            "gpu": self.gpu,
            "kind": self.kind.value,
            "blame": self.blame.value,
            "xid": self.xid,
            "message": self.message,
            "raisedAt": rfc3339(self.raised_at),
        }


class ResponseOutcome(StrEnum):
    """What a fault has led to for one workload.

    NOTED: a note, and nothing else. PROPOSED: a plan to reschedule it. WAITING: another plan comes first, or the hour
    has had enough of them; the tick looks again.
    """

    NOTED = "noted"
    PROPOSED = "proposed"
    WAITING = "waiting"


@dataclass(frozen=True)
class Departure:
    """A workload that has to leave a node because of a fault. over: whether the fault is."""

    fault_id: uuid.UUID
    workload_id: uuid.UUID
    cluster: str
    node: str
    kind: FaultKind
    message: str
    over: bool = False


@dataclass(frozen=True)
class FaultRules:
    """How faults are answered.

    reschedules_per_hour: of one workload. suspect_share: when faults of hardware were raised within suspect_window on
    more than this part of a cluster's GPU nodes, and on two of them at least, they have a common cause. quiet_time: how
    long a node stays excluded after its last fault has been cleared.
    """

    reschedules_per_hour: int = 2
    suspect_share: float = 0.25
    suspect_window: timedelta = timedelta(minutes=10)
    quiet_time: timedelta = timedelta(hours=1)

    def has_common_cause(self, complaining: int, fleet: int) -> bool:
        """Whether so many nodes of a fleet cannot have failed each by itself."""
        return complaining > 1 and complaining > self.suspect_share * fleet


DEFAULT_FAULT_RULES = FaultRules()
