"""The platform's log: one line for each thing that happened, readable and aligned, or one JSON object a line.

Every room logs with the standard library, below the logger `knative.local`. A record may carry `fields`, a mapping that
both forms show. Lines that child processes wrote come through the logger `OUTPUT`, at every level: children are silent
unless something is wrong.

`LOG_FORMAT` (text or json) chooses the form; `LOG_LEVEL` (debug, info, warning, error) how much.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TextIO

from knative.local.broker.attempts import Attempt, attempt_of
from knative.local.serving.output import OUTPUT
from shared.observability import JsonFormatter

PLATFORM = "knative.local"
LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")
_TYPE_WIDTH, _SUBJECT_WIDTH, _FUNCTION_WIDTH = 33, 36, 20


class TextFormatter(logging.Formatter):
    """`12:00:00.123 ! message name=value`, in UTC; an exclamation mark from warnings on. Attempts are aligned."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the name is of logging)
        at = datetime.fromtimestamp(record.created, UTC)
        mark = "!" if record.levelno >= logging.WARNING else " "
        return f"{at:%H:%M:%S}.{at.microsecond // 1000:03d} {mark} {_text(record)}"


class LogHandler(logging.StreamHandler[TextIO]):
    """Writes to a stream. A reader that is gone or a full disk costs lines, never deliveries."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name is of logging)
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class Warnings:
    """Keeps warnings, and what children wrote, for whoever shows them only when something went wrong."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self.handler = LogHandler(self._stream)
        self.handler.setFormatter(TextFormatter())
        self.handler.addFilter(lambda record: record.levelno >= logging.WARNING or record.name == OUTPUT)

    def tail(self, characters: int = 4000) -> str:
        """The last of what was kept."""
        return self._stream.getvalue()[-characters:]


def configure(form: str, level: str, stream: TextIO | None = None) -> None:
    """Writes the platform's log to `stream`, or stdout. `form` is one of FORMATS, `level` one of LEVELS."""
    handler = LogHandler(stream or sys.stdout)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logger = logging.getLogger(PLATFORM)
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


@contextlib.contextmanager
def following(*handlers: logging.Handler) -> Iterator[None]:
    """Gives the platform's log, at every level, to these handlers alone, and restores what was before."""
    logger = logging.getLogger(PLATFORM)
    before = logger.handlers[:], logger.level, logger.propagate
    logger.handlers[:], logger.propagate = handlers, False
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.handlers[:], _, logger.propagate = before
        logger.setLevel(before[1])


def _text(record: logging.LogRecord) -> str:
    if attempt := attempt_of(record):
        return _aligned(attempt)
    fields = {} if record.name == OUTPUT else getattr(record, "fields", {})
    return " ".join((record.getMessage(), *(f"{name}={value}" for name, value in fields.items())))


def _aligned(attempt: Attempt) -> str:
    kind = attempt.event.attributes["type"].removeprefix("dev.sentinel.")
    subject = attempt.event.attributes.get("subject", "")
    return (
        f"{kind:<{_TYPE_WIDTH}} {subject:<{_SUBJECT_WIDTH}} {attempt.subscriber or '-':<{_FUNCTION_WIDTH}} "
        f"{attempt.milliseconds:7.1f} ms  {attempt.outcome}"
    )
