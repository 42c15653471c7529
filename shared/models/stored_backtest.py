"""A backtest that somebody asked for, and what came of it."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import JsonValue

from shared.models.moments import rfc3339


class BacktestState(StrEnum):
    """RUNNING: it is replayed, or waits for that. CANCELLED: somebody has ended it, and it keeps what it had found."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class StoredBacktest:
    """command: what was asked for. report: what was found; of a running one, up to now. problem: why it failed.

    attempts: how often it was begun: an attempt whose number is no longer this one has been replaced.
    """

    id: uuid.UUID
    requested_by: str
    state: BacktestState
    command: dict[str, JsonValue]
    report: dict[str, JsonValue] | None
    problem: str
    attempts: int
    created_at: datetime
    updated_at: datetime

    def as_json(self) -> dict[str, JsonValue]:
        """The backtest for machines, without what was asked for. A running one counts differences, and lists none."""
        report = self.report
        if report is not None and self.state is BacktestState.RUNNING:
            report = {**report, "changes": []}
        return {
            "id": str(self.id),
            "state": self.state.value,
            "requestedBy": self.requested_by,
            "createdAt": rfc3339(self.created_at),
            "updatedAt": rfc3339(self.updated_at),
            "report": report,
            "problem": self.problem or None,
        }
