"""The lifecycle of every workload of a replay, from what the store said of it. Pure.

    pending --> submitted --> placed ----> (withdrawn) --> removed
                    |-------> failed ----^
                    |-------> denied, rejected

A workload is over when nothing more will become of it: denied, rejected, removed, or, when workloads are kept, placed
or failed.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime

from knative.local.tools.replay.trace import Pod
from shared.models.lifecycle import Phase

PLACED = (Phase.HEALTHY, Phase.DEGRADED, Phase.COMPLETED)
_DECIDED_AGAINST = (Phase.PROPOSED, Phase.DENIED)
UNSCHEDULABLE = "Unschedulable"


@dataclass(frozen=True)
class LifecycleObservation:
    """A workload's row as it was seen. `at` is when it became so, in seconds since the epoch by the store's clock."""

    workload: uuid.UUID
    phase: Phase
    reason: str
    at: float

    @classmethod
    def of(cls, workload: uuid.UUID, phase: str, reason: str, updated_at: datetime) -> LifecycleObservation:
        return cls(workload, Phase(phase), reason, updated_at.timestamp())


@dataclass
class Lifecycle:
    """One workload. Times in seconds since the epoch."""

    workload: uuid.UUID
    pod: Pod
    submitted_at: float
    phase: Phase | None = None
    reason: str = ""
    since: float = 0.0
    approved: bool = False
    placed_at: float | None = None
    failed: str = ""
    rejected: str = ""
    withdrawn: bool = False

    @property
    def not_placeable(self) -> bool:
        """Whether it failed because no node has room."""
        return self.failed.startswith(UNSCHEDULABLE)

    @property
    def settled(self) -> bool:
        """Whether its submission has come to something: what is withdrawn, or over."""
        return self.placed_at is not None or bool(self.failed or self.rejected) or self.phase is Phase.DENIED

    def over(self, keep: bool) -> bool:
        """Whether nothing more will become of it."""
        if self.rejected or self.phase in (Phase.DENIED, Phase.REMOVED):
            return True
        return keep and self.settled

    def only_waits(self, now: float, patience: float) -> bool:
        """Whether it has been with the cluster for longer than `patience`: it waits for a node, and costs nothing."""
        return self.phase is Phase.VERIFYING and not self.settled and now - self.since > patience


@dataclass
class Lifecycles:
    """All workloads of a replay."""

    keep: bool
    by_workload: dict[uuid.UUID, Lifecycle] = field(default_factory=dict)
    _open: dict[uuid.UUID, Lifecycle] = field(default_factory=dict)

    def submitted(self, workload: uuid.UUID, pod: Pod, at: float) -> None:
        self.by_workload[workload] = self._open[workload] = Lifecycle(workload, pod, at)

    def seen(self, observation: LifecycleObservation) -> bool:
        """Records an observation. False if it holds nothing new."""
        lifecycle = self.by_workload.get(observation.workload)
        if lifecycle is None or (lifecycle.phase is observation.phase and lifecycle.reason == observation.reason):
            return False
        if lifecycle.phase is not observation.phase:
            lifecycle.since = observation.at
        lifecycle.phase, lifecycle.reason = observation.phase, observation.reason
        lifecycle.approved = lifecycle.approved or observation.phase not in _DECIDED_AGAINST
        if observation.phase in PLACED and lifecycle.placed_at is None:
            lifecycle.placed_at = observation.at
        if observation.phase is Phase.FAILED and not lifecycle.failed:
            lifecycle.failed = observation.reason or "no reason given"
        self._close(lifecycle)
        return True

    def rejected(self, workload: uuid.UUID, reason: str) -> None:
        """Intake did not take it in."""
        lifecycle = self.by_workload.get(workload)
        if lifecycle is not None:
            lifecycle.rejected = reason
            self._close(lifecycle)

    def to_withdraw(self) -> list[Lifecycle]:
        """What has come to something and still holds capacity."""
        if self.keep:
            return []
        return [c for c in self.open if c.settled and not c.withdrawn]

    @property
    def open(self) -> list[Lifecycle]:
        """What is not over, in the order of submission."""
        return list(self._open.values())

    def _close(self, lifecycle: Lifecycle) -> None:
        if lifecycle.over(self.keep):
            self._open.pop(lifecycle.workload, None)
