"""The platform's log: one line for each thing that happened, readable and aligned, or one JSON object a line.

`LOG_FORMAT` (text or json) chooses the form; `LOG_LEVEL` (debug, info, warning, error) how much. A tick, or a change
that the API server told of, which led to nothing is reported at debug level, or it would drown everything else.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal, TextIO

from knative.local.broker.wire import Record

Level = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")
_BACKGROUND = ("dev.knative.sources.ping", "dev.knative.apiserver.")
_TYPE_WIDTH, _SUBJECT_WIDTH, _FUNCTION_WIDTH = 33, 36, 20


class Report:
    """Writes log lines. `clock` gives the time of a line, in UTC."""

    def __init__(
        self,
        stream: TextIO | None = None,
        form: str = "text",
        level: Level = "info",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._stream = stream or sys.stdout
        self.form = form
        self.level: Level = level
        self._json = form == "json"
        self._least = LEVELS.index(level)
        self._clock = clock

    def delivery(self, record: Record, function: str, outcome: str, milliseconds: float, *, ok: bool) -> None:
        """One attempt to deliver one event, and what came of it."""
        kind, subject = record.attributes["type"], record.attributes.get("subject", "")
        quiet = ok and outcome == "done" and kind.startswith(_BACKGROUND)
        level: Level = "debug" if quiet else "info" if ok else "warning"
        fields = {"type": kind, "subject": subject, "function": function, "outcome": outcome}
        if self._json:
            self._write(level, "", {**fields, "id": record.attributes["id"], "ms": round(milliseconds, 1)})
        else:
            short = kind.removeprefix("dev.sentinel.")
            self._write(
                level,
                f"{short:<{_TYPE_WIDTH}} {subject:<{_SUBJECT_WIDTH}} {function:<{_FUNCTION_WIDTH}} "
                f"{milliseconds:7.1f} ms  {outcome}",
                {},
            )

    def terminal(self, record: Record) -> None:
        """An event that no Trigger takes: a chain ends here."""
        self.delivery(record, "-", "no trigger", 0.0, ok=True)

    def output(self, source: str, line: str) -> None:
        """A line that a child process wrote; shown at every level, as children are silent unless something is wrong."""
        if self._json and line.startswith("{"):
            try:
                fields = json.loads(line)
            except ValueError:
                fields = {"message": line}
        else:
            fields = {"message": line}
        self._put("info", f"[{source}] {line}", {"function": source, **fields})

    def debug(self, message: str, **fields: str) -> None:
        self._say("debug", message, fields)

    def info(self, message: str, **fields: str) -> None:
        self._say("info", message, fields)

    def warning(self, message: str, **fields: str) -> None:
        self._say("warning", message, fields)

    def error(self, message: str, **fields: str) -> None:
        self._say("error", message, fields)

    def _say(self, level: Level, message: str, fields: Mapping[str, str]) -> None:
        self._write(
            level, " ".join((message, *(f"{k}={v}" for k, v in fields.items()))), {"message": message, **fields}
        )

    def _write(self, level: Level, text: str, fields: Mapping[str, object]) -> None:
        if LEVELS.index(level) >= self._least:
            self._put(level, text, fields)

    def _put(self, level: Level, text: str, fields: Mapping[str, object]) -> None:
        now = self._clock()
        if self._json:
            line = json.dumps({"time": now.isoformat(timespec="milliseconds"), "level": level, **fields})
        else:
            mark = {"warning": "! ", "error": "! "}.get(level, "  ")
            line = f"{now:%H:%M:%S}.{now.microsecond // 1000:03d} {mark}{text}"
        # A reader that is gone or a full disk costs lines, never deliveries.
        with contextlib.suppress(OSError):
            self._stream.write(line + "\n")
            self._stream.flush()
