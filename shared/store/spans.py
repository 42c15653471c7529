"""Spans of transactions: what an engine's connections do while a request is traced.

A span a transaction, from when it has a connection until it gives it back. A workload makes nine of them, and four
times as many statements: to look at each statement would cost more than all else of tracing together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from shared.store.database import sqlstate
from shared.tracing import SpanKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine.interfaces import ExceptionContext
    from sqlalchemy.pool import ConnectionPoolEntry

    from shared.spans import RecordedSpan, Recorder

_SYSTEM = {"db.system.name": "postgresql"}
_KEY = "span"


def listen(engine: sa.Engine, recorder: Recorder) -> None:
    """Records what is done on the engine's connections."""

    def check_out(_: Any, entry: ConnectionPoolEntry, proxy: Any) -> None:
        span = recorder.span("transaction", SpanKind.CLIENT, _SYSTEM)
        if span.recorded.is_recording():
            entry.info[_KEY] = span

    def check_in(_: Any, entry: ConnectionPoolEntry) -> None:
        span: RecordedSpan | None = entry.info.pop(_KEY, None)
        if span is not None:
            span.recorded.end()

    def fail(context: ExceptionContext) -> None:
        if (connection := context.connection) is not None and (span := connection.info.get(_KEY)) is not None:
            error = context.sqlalchemy_exception
            code = sqlstate(error) if isinstance(error, sa.exc.DBAPIError) else None
            span.fail(code or type(context.original_exception).__qualname__)

    listeners: dict[str, Callable[..., None]] = {"checkout": check_out, "checkin": check_in, "handle_error": fail}
    for name, listener in listeners.items():
        sa.event.listen(engine, name, listener)
