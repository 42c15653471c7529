"""What child processes write to stdout and stderr, in the platform's log."""

from __future__ import annotations

import contextlib
import json
import logging

OUTPUT = "knative.local.output"
_log = logging.getLogger(OUTPUT)
_log.setLevel(logging.DEBUG)  # whatever the platform's level is


def log_output(source: str, line: str) -> None:
    """Logs a line; the members of one that is a JSON object become fields of the record."""
    fields = {"function": source, "message": line}
    if line.startswith("{"):
        with contextlib.suppress(ValueError):  # it may only look like JSON
            fields |= json.loads(line)
    _log.info("[%s] %s", source, line, extra={"fields": fields})
