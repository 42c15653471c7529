"""What came of each attempt to deliver an event: a log record, which a program can follow too.

A tick, a change in the cluster or telemetry that led to nothing is logged at debug level. There are so many of them
that nothing else could be seen.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from knative.local.broker.wire import Record

_log = logging.getLogger(__name__)
_BACKGROUND = ("dev.knative.sources.ping", "dev.knative.apiserver.", "dev.sentinel.telemetry.")
DONE = "done"
UNROUTED = "no trigger"


@dataclass(frozen=True)
class Attempt:
    """One attempt. `subscriber` is empty for an event that no Trigger takes; `ok`: there is nothing to look into."""

    event: Record
    subscriber: str
    outcome: str
    milliseconds: float
    ok: bool

    @property
    def level(self) -> int:
        """The level to log it at."""
        if not self.ok:
            return logging.WARNING
        background = self.event.attributes["type"].startswith(_BACKGROUND)
        return logging.DEBUG if background and self.outcome == DONE else logging.INFO


def log_attempt(event: Record, subscriber: str, outcome: str, milliseconds: float, *, ok: bool) -> None:
    """Logs one attempt."""
    _log_attempt(Attempt(event, subscriber, outcome, milliseconds, ok))


def log_unrouted(event: Record) -> None:
    """Logs an event that no Trigger takes: a chain ends here."""
    _log_attempt(Attempt(event, "", UNROUTED, 0.0, ok=True))


def attempt_of(record: logging.LogRecord) -> Attempt | None:
    """The attempt that a log record is about, if any."""
    found = getattr(record, "attempt", None)
    return found if isinstance(found, Attempt) else None


class AttemptHandler(logging.Handler):
    """Calls `follow` with every attempt that is logged."""

    def __init__(self, follow: Callable[[Attempt], None]) -> None:
        super().__init__()
        self._follow = follow

    def emit(self, record: logging.LogRecord) -> None:
        if attempt := attempt_of(record):
            self._follow(attempt)


def _log_attempt(attempt: Attempt) -> None:
    if not _log.isEnabledFor(attempt.level):
        return
    attributes = attempt.event.attributes
    fields = {
        "type": attributes["type"],
        "subject": attributes.get("subject", ""),
        "function": attempt.subscriber or "-",
        "outcome": attempt.outcome,
        "id": attributes["id"],
        "ms": round(attempt.milliseconds, 1),
    }
    _log.log(attempt.level, attempt.outcome, extra={"attempt": attempt, "fields": fields})
