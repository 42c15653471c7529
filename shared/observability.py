"""Logs: one line a record, for people or (LOG_FORMAT=json) for machines."""

import json
import logging
import os
import sys
from datetime import UTC, datetime

from shared import tracing
from shared.errors import ConfigurationError


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339), level, logger, message, trace_id, and the error with its traceback.

    trace_id: of the trace that this thread's work belongs to; absent where it belongs to none; see shared.tracing.
    The members of a mapping that the record carries as `fields` are added, and win.
    """

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (context := tracing.current()) is not None:
            entry["trace_id"] = context.trace_id
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry | getattr(record, "fields", {}))


def configure_logging() -> None:
    """Sends the root logger to stderr as LOG_FORMAT (text, json) and LOG_LEVEL (default info) say.

    Raises ConfigurationError for a value that it does not know.
    """
    style = os.environ.get("LOG_FORMAT", "text")
    level = os.environ.get("LOG_LEVEL", "info").upper()
    if style not in ("text", "json"):
        raise ConfigurationError(f"LOG_FORMAT must be text or json, not {style[:20]!r}")
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ConfigurationError(f"LOG_LEVEL must be debug, info, warning or error, not {level[:20]!r}")
    _leave_out_what_no_line_shows()
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
    handler.setFormatter(JsonFormatter() if style == "json" else text)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # it repeats each failure; the agent says it in one line
    # A connection that broke cannot be closed either; the request that met it says so, in one line.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)


def _leave_out_what_no_line_shows() -> None:
    """The place in the code, the thread and the process: finding them takes half of what a record costs.

    https://docs.python.org/3/howto/logging.html#optimization
    """
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
