"""pg8000's connection, with one round trip a statement, its text read once, and moments read fast.

pg8000 asks the server three times for each statement (parse, describe, execute) and waits for every answer, and a
fourth time to begin a transaction. The protocol lets a client send all of it at once: the server works through it in
order, and after an error skips the rest up to the Sync, so nothing runs outside the transaction that it belongs to.
https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY

This module is a DBAPI, to be given to SQLAlchemy in place of pg8000's: what is not here is pg8000's own.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from struct import Struct
from typing import Any

import pg8000
import pg8000.legacy
from pg8000 import core
from pg8000.converters import make_params, timestamptz_in

_BEGIN = "begin transaction"  # what pg8000's cursor says before the first statement of a transaction
_LENGTH, _COUNT = Struct("!i"), Struct("!h")
_NULL = _LENGTH.pack(-1)
_TEXTS = 1024


class Connection(pg8000.legacy.Connection):  # type: ignore[misc]  # pg8000 has no types
    """A connection; its arguments are pg8000's."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._begins = False
        super().__init__(*arguments, **named)
        self.register_in_adapter(pg8000.TIMESTAMPTZ, moment)

    def execute_simple(self, statement: str) -> Any:
        """Runs statements that have no parameters. A begin is kept for the statement that it is for."""
        if statement == _BEGIN:
            self._begins = True
            return core.Context(statement)
        return super().execute_simple(f"{_BEGIN};{statement}" if self._take_begin() else statement)

    def execute_unnamed(
        self, statement: str, vals: Sequence[Any] = (), oids: Sequence[int] = (), stream: Any = None
    ) -> Any:
        """Runs a statement with parameters `$1`, `$2` and so on. Nothing is sent when a value cannot be."""
        context = core.Context(statement, stream=stream)
        begin = _first_half(_BEGIN, ()) + _second_half(()) if self._take_begin() else b""
        self._send(begin + _first_half(statement, tuple(oids)) + _second_half(make_params(self.py_types, vals)))
        self.handle_messages(context)
        return context

    def commit(self) -> None:
        """Ends the transaction."""
        self.execute_simple("commit")

    def _take_begin(self) -> bool:
        begins, self._begins = self._begins, False
        return begins

    def _send(self, messages: bytes) -> None:
        try:
            core._write(self._sock, messages + core.SYNC_MSG)
            core._flush(self._sock)
        except (AttributeError, ValueError):  # closed: there is no socket, or its file is
            raise core.InterfaceError("connection is closed") from None


connect = Connection


def __getattr__(name: str) -> Any:
    return getattr(pg8000, name)


def moment(text: str) -> Any:
    """A timestamptz as pg8000 reads it: a datetime, or the text where Python has no such time, as for "infinity".

    PostgreSQL writes ISO 8601, which datetime reads fifty times faster than strptime does; rows are full of moments.
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return timestamptz_in(text)


@lru_cache(_TEXTS)
def _first_half(statement: str, oids: tuple[int, ...]) -> bytes:
    """Parse and Describe, of the unnamed statement."""
    types = b"".join(_LENGTH.pack(max(oid, 0)) for oid in oids)
    parse = b"\0" + statement.encode() + b"\0" + _COUNT.pack(len(oids)) + types
    return _message(core.PARSE, parse) + _message(core.DESCRIBE, core.STATEMENT + b"\0")


def _second_half(values: Sequence[str | None]) -> bytes:
    """Bind, with every value as text, and Execute, of the unnamed portal."""
    parts = [b"\0\0", _COUNT.pack(0), _COUNT.pack(len(values))]
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            encoded = value.encode()
            parts += (_LENGTH.pack(len(encoded)), encoded)
    parts.append(_COUNT.pack(0))
    return _message(core.BIND, b"".join(parts)) + bytes(core.EXECUTE_MSG)


def _message(code: bytes, content: bytes) -> bytes:
    return code + _LENGTH.pack(len(content) + 4) + content


@lru_cache(_TEXTS)
def numbered(text: str) -> str:
    """A statement with `$1` for its first `%s` and so on.

    pg8000 reads every text character by character for this each time that it is executed, which was a fifth of a
    function's CPU. What it makes of a text in the style that SQLAlchemy uses depends on nothing but the text.
    """
    return str(_convert("format", text, ())[0])


def _converted(style: str, text: str, values: Any) -> Any:
    return (numbered(text), values) if style == "format" else _convert(style, text, values)


_convert = pg8000.legacy.convert_paramstyle
pg8000.legacy.convert_paramstyle = _converted
