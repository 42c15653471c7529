"""Pages of a list, by the key of the last row that was shown.

A page that begins behind a key costs the same wherever it is, and what others insert or delete meanwhile neither hides
a row nor shows one twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

T = TypeVar("T")


@dataclass(frozen=True)
class PageRequest:
    """Which part of a list is wanted. sort: a name that the list declares. after: the key that the page follows."""

    limit: int = 100
    sort: str = ""
    descending: bool = False
    after: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class HistoryPart:
    """A part of what happened: at most `limit` of it, from a moment on. start: None for its very beginning.

    backwards: the newest first, so that `start` is its newest moment.
    """

    start: datetime | None
    backwards: bool
    limit: int


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list. next: the key of its last row; None when there are no more rows."""

    items: Sequence[T]
    next: tuple[Any, ...] | None = None
