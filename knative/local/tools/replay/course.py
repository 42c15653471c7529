"""The course of every workload of a replay, from what the store said of it. Pure.

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
class Sighting:
    """A workload's row as it was seen. `at` is when it became so, in seconds since the epoch by the store's clock."""

    workload: uuid.UUID
    phase: Phase
    reason: str
    at: float

    @classmethod
    def of(cls, workload: uuid.UUID, phase: str, reason: str, updated_at: datetime) -> Sighting:
        return cls(workload, Phase(phase), reason, updated_at.timestamp())


@dataclass
class Course:
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
class Courses:
    """All workloads of a replay."""

    keep: bool
    by_workload: dict[uuid.UUID, Course] = field(default_factory=dict)
    _open: dict[uuid.UUID, Course] = field(default_factory=dict)

    def submitted(self, workload: uuid.UUID, pod: Pod, at: float) -> None:
        self.by_workload[workload] = self._open[workload] = Course(workload, pod, at)

    def seen(self, sighting: Sighting) -> bool:
        """Takes a sighting in. False if it says nothing new."""
        course = self.by_workload.get(sighting.workload)
        if course is None or (course.phase is sighting.phase and course.reason == sighting.reason):
            return False
        if course.phase is not sighting.phase:
            course.since = sighting.at
        course.phase, course.reason = sighting.phase, sighting.reason
        course.approved = course.approved or sighting.phase not in _DECIDED_AGAINST
        if sighting.phase in PLACED and course.placed_at is None:
            course.placed_at = sighting.at
        if sighting.phase is Phase.FAILED and not course.failed:
            course.failed = sighting.reason or "no reason given"
        self._close(course)
        return True

    def rejected(self, workload: uuid.UUID, reason: str) -> None:
        """Intake did not take it in."""
        course = self.by_workload.get(workload)
        if course is not None:
            course.rejected = reason
            self._close(course)

    def to_withdraw(self) -> list[Course]:
        """What has come to something and still holds capacity."""
        if self.keep:
            return []
        return [c for c in self.open if c.settled and not c.withdrawn]

    @property
    def open(self) -> list[Course]:
        """What is not over, in the order of submission."""
        return list(self._open.values())

    def _close(self, course: Course) -> None:
        if course.over(self.keep):
            self._open.pop(course.workload, None)
