"""Breaches of service level objectives: error budgets that burn too fast."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import uuid
    from datetime import datetime, timedelta

    from shared.models.faults import ResponseOutcome

DEFAULT_BREACH_PLANS_PER_HOUR = 1
"""Of one workload: a cause that lasts for minutes makes the budget burn over several windows, often all at once."""


class BreachState(StrEnum):
    """A breach is raised once, and is over once."""

    RAISED = "raised"
    OVER = "over"


@dataclass(frozen=True)
class Crossing:
    """What one pair of windows is compared with. Breaches of the same crossing follow each other.

    target: the share of requests that must succeed, such as 0.999. factor: how many times too fast the error budget
    burns at most, over both windows.
    """

    target: float
    factor: float
    long: timedelta
    short: timedelta


@dataclass(frozen=True)
class Breach:
    """An error budget burned too fast, from raised_at until over_at (None while it does).

    policy: whose objective it was. burn_rate: when it was looked at last. outcome: what it has led to, None before
    anybody has looked.
    """

    id: uuid.UUID
    workload_id: uuid.UUID
    policy: str
    crossing: Crossing
    burn_rate: float
    raised_at: datetime
    over_at: datetime | None = None
    outcome: ResponseOutcome | None = None


@dataclass(frozen=True)
class BreachChange:
    """A breach that was raised, or is over. burn_rate: now; None where nothing says it any more."""

    breach: Breach
    state: BreachState
    burn_rate: float | None
    message: str
