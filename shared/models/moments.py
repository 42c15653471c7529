"""Moments as text, for machines."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from datetime import datetime


@overload
def rfc3339(value: datetime) -> str: ...
@overload
def rfc3339(value: None) -> None: ...
def rfc3339(value: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the millisecond: 2026-11-28T09:30:00.000Z. None stays None."""
    return None if value is None else value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
