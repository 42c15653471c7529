"""Rows of the audit log as readers see them, and where they are in it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class ChainHead:
    """The newest row of a chain: all rows before it follow from its hash."""

    shard: int
    sequence: int
    hash: bytes


@dataclass(frozen=True)
class AuditPosition:
    """The place of a row in the order of commits."""

    transaction: int
    recorded_at: datetime
    shard: int
    sequence: int


@dataclass(frozen=True)
class AuditRow:
    """One row. detail: what its bytes say beside action, subject and actor."""

    position: AuditPosition
    action: str
    subject: str
    actor: str
    team: str | None
    detail: dict[str, Any]
    hash: bytes


@dataclass(frozen=True)
class AuditFilter:
    """Which rows are wanted; None takes any. teams: rows of these teams alone. workloads: rows about
    workloads alone. since, until: [since, until).
    """

    subject: str | None = None
    actor: str | None = None
    action: str | None = None
    teams: Collection[str] | None = None
    workloads: bool = False
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class ExportedRow:
    """A row with all that its hash covers."""

    shard: int
    sequence: int
    recorded_at: datetime
    body: bytes
    previous_hash: bytes
    hash: bytes
