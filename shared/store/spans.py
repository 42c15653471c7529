"""Spans of transactions: what an engine's connections do while a request is traced.

A span a transaction, and one for each statement in it that took SLOW_SECONDS or more. A decision on a plan makes
eighteen statements: a span for each would cost more than a tenth of what they cost themselves.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from shared.store.database import sqlstate
from shared.tracing import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine.interfaces import ExceptionContext
    from sqlalchemy.pool import ConnectionPoolEntry

    from shared.spans import RecordedSpan, Recorder

SLOW_SECONDS = 0.02
_SYSTEM = {"db.system.name": "postgresql"}
_KEY = "span"
_LONGEST_TEXT = 2000
"""Characters of a statement. Its values are not in it: they travel as parameters."""


@dataclass
class _Transaction:
    """A connection from its checkout to its return."""

    span: RecordedSpan
    statements: int = 0
    seconds: float = 0.0
    operation: str = ""
    began: float = 0.0
    began_ns: int = 0


def listen(engine: sa.Engine, recorder: Recorder) -> None:
    """Records what is done on the engine's connections."""

    def check_out(_: Any, entry: ConnectionPoolEntry, proxy: Any) -> None:
        span = recorder.span("transaction", Kind.CLIENT, _SYSTEM)
        if span.recorded.is_recording():
            entry.info[_KEY] = _Transaction(span)

    def check_in(_: Any, entry: ConnectionPoolEntry) -> None:
        if (transaction := entry.info.pop(_KEY, None)) is None:
            return
        with transaction.span as span:
            if transaction.statements == 1:
                span.rename(transaction.operation)
            span.set({"sentinel.statements": transaction.statements, "sentinel.statement_seconds": transaction.seconds})

    def begin(connection: sa.Connection, *_: Any) -> None:
        if (transaction := connection.info.get(_KEY)) is not None:
            transaction.statements += 1
            transaction.began, transaction.began_ns = time.perf_counter(), time.time_ns()

    def end(connection: sa.Connection, _: Any, statement: str, *__: Any) -> None:
        if (transaction := connection.info.get(_KEY)) is None:
            return
        seconds = time.perf_counter() - transaction.began
        transaction.seconds += seconds
        transaction.operation = operation = _operation(statement)
        if seconds >= SLOW_SECONDS:
            text = {**_SYSTEM, "db.operation.name": operation, "db.query.text": statement.strip()[:_LONGEST_TEXT]}
            recorder.past(operation, text, transaction.span, transaction.began_ns)

    def fail(context: ExceptionContext) -> None:
        connection = context.connection
        if connection is not None and (transaction := connection.info.get(_KEY)) is not None:
            error = context.sqlalchemy_exception
            code = sqlstate(error) if isinstance(error, sa.exc.DBAPIError) else None
            transaction.span.fail(code or type(context.original_exception).__qualname__)

    listeners: dict[str, Callable[..., None]] = {"checkout": check_out, "checkin": check_in, "handle_error": fail}
    listeners |= {"before_cursor_execute": begin, "after_cursor_execute": end}
    for name, listener in listeners.items():
        sa.event.listen(engine, name, listener)


def _operation(statement: str) -> str:
    """The first word: SELECT, INSERT, UPDATE, DELETE, WITH."""
    return statement.split(None, 1)[0].upper()
