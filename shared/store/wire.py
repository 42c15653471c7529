"""pg8000's connection with prepared statements, one round trip a statement, and moments that are read fast.

pg8000 asks the server three times for each statement (parse, describe, execute), and waits for every answer. It asks a
fourth time to begin a transaction, and a fifth to set something for it. The protocol lets a client send all of it at
once. The server works through it in order and skips the rest up to the Sync after an error, so nothing runs outside the
transaction that it belongs to.
https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY

A statement that a connection executes a second time is prepared under a name that follows from its text: the server
parses it once and plans it at most a few times. At most `STATEMENTS` stay prepared. Preparing is no part of a
transaction, so a rollback does not undo it. A DDL statement, DISCARD ALL or a pooler between client and server may take
a prepared statement away. Then everything is forgotten; a statement that begins its transaction is sent again, and
any other ends its transaction with `StatementsLost`, which a retry mends.

`Dialect` gives all of this to SQLAlchemy, which numbers the parameters itself (`$1`), so no text is searched for them.
"""

import hashlib
import socket
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import lru_cache
from struct import Struct
from struct import error as struct_error
from typing import Any

import pg8000
import pg8000.legacy
from pg8000 import core
from pg8000.converters import make_params, timestamptz_in
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.base import PGCompiler
from sqlalchemy.dialects.postgresql.pg8000 import PGDialect_pg8000

from shared.store.database_url import ConnectionParameters

DRIVER = "postgresql+pg8000prepared"
STATEMENTS = 200
"""How many statements a connection knows; each that is prepared takes some 20 KiB of the server's memory."""
ANSWER_SECONDS = 10.0
"""How long a server that is reached over TCP may be silent in the middle of an answer."""

KEEPALIVE = {"idle": 30, "interval": 10, "count": 3}
"""TCP keepalive of both ends, in seconds and questions: a peer that is gone is known within a minute."""
_USER_TIMEOUT = timedelta(seconds=60)
"""How long the server waits for its own data to be taken: keepalive says nothing while data is on its way."""

_SASL = 10  # AuthenticationSASL; 3 and 5 ask for a password in clear text and as MD5
_ASKING_FOR_PASSWORD = (3, 5, _SASL)
_BEGIN = "begin transaction"
_OF_TRANSACTION = ("SET LOCAL ", "SET TRANSACTION ")
_BYTES, _COUNT, _HEADER = Struct("!i"), Struct("!h"), Struct("!ci")
_NULL = _BYTES.pack(-1)
_UNNAMED = b"\0"
# PostgreSQL, appendix A: a cached plan would change its result type, no such prepared statement, one of that name
_CHANGED, _LOST, _DUPLICATE = "0A000", "26000", "42P05"


class LoginImpossible(pg8000.InterfaceError):  # type: ignore[misc]  # pg8000 has no types
    """The server asks for what the URL does not give, or does not give what the URL asks for; the message says it."""


class StatementsLost(pg8000.OperationalError):  # type: ignore[misc]
    """The server no longer has, or may no longer use, what this connection prepared; a new transaction may."""


@dataclass(frozen=True)
class PreparedStatement:
    """A statement that the server knows by `name` (with its NUL), and how to read its rows."""

    name: bytes
    columns: Any
    input_functions: Any


class _Binding(Enum):
    OPTIONAL = auto()
    NEEDED = auto()
    OFFERED = auto()


class Dialect(PGDialect_pg8000):
    """SQLAlchemy's dialect for pg8000, with numbered parameters instead of `%s`."""

    supports_statement_cache = True
    statement_compiler = PGCompiler  # type: ignore[assignment]  # pg8000's own doubles every %, which only the other style needs

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**{"paramstyle": "numeric_dollar", **arguments})  # type: ignore[no-untyped-call]

    def set_isolation_level(self, dbapi_connection: Any, level: str) -> None:
        """As pg8000's, but leaving AUTOCOMMIT asks the server nothing: the session's level was never changed."""
        if level == "AUTOCOMMIT":
            dbapi_connection.autocommit = True
        elif dbapi_connection.autocommit and level == self.default_isolation_level == dbapi_connection.isolation:
            dbapi_connection.autocommit = False
        else:
            super().set_isolation_level(dbapi_connection, level)  # type: ignore[no-untyped-call]
            dbapi_connection.isolation = level


registry.register(DRIVER.replace("+", "."), __name__, Dialect.__name__)


@dataclass(frozen=True)
class SessionLimits:
    """What PostgreSQL does not let a session exceed; None: no limit.

    lock: how long a statement waits for what another transaction has locked. statement: how long one may run.
    idle_in_transaction: how long a transaction stays open while its client says nothing, locks and all.
    """

    lock: timedelta | None = None
    statement: timedelta | None = None
    idle_in_transaction: timedelta | None = None


NO_LIMITS = SessionLimits()


def open_connection(parameters: ConnectionParameters, limits: SessionLimits = NO_LIMITS) -> "PreparedConnection":
    """A new connection. What the URL's `options` set wins over `limits`."""
    connection = PreparedConnection(
        parameters.user,
        host=parameters.host,
        database=parameters.database,
        port=parameters.port,
        password=parameters.password,
        unix_sock=parameters.unix_socket,
        ssl_context=parameters.tls,
        timeout=None if parameters.unix_socket else parameters.connect_timeout,
        tcp_keepalive=parameters.keepalives,
        application_name=parameters.application_name,
        startup_params=_startup(parameters, limits),
        answer_timeout=None if parameters.unix_socket else ANSWER_SECONDS,
        require_channel_binding=parameters.require_channel_binding,
    )
    if parameters.keepalives and not parameters.unix_socket:
        connection.keep_alive(KEEPALIVE)
    return connection


def _startup(parameters: ConnectionParameters, limits: SessionLimits) -> dict[str, str]:
    """The startup packet's `options`, so that no statement is needed. Of two values of a setting the last wins."""
    set_ = {
        "lock_timeout": limits.lock,
        "statement_timeout": limits.statement,
        "idle_in_transaction_session_timeout": limits.idle_in_transaction,
    }
    options = [f"-c {name}={limit // timedelta(milliseconds=1)}" for name, limit in set_.items() if limit is not None]
    if parameters.keepalives and not parameters.unix_socket:  # the server, too, learns that its client is gone
        options += [f"-c tcp_keepalives_{name}={value}" for name, value in KEEPALIVE.items()]
        options.append(f"-c tcp_user_timeout={_USER_TIMEOUT // timedelta(milliseconds=1)}")
    if parameters.options is not None:
        options.append(parameters.options)
    return {"options": " ".join(options)} if options else {}


def _close(buffers: Any) -> None:
    """Closes the buffers around a socket, whose last bytes may have nowhere to go."""
    if buffers is not None:
        with suppress(OSError, ValueError):
            buffers.close()


class PreparedConnection(pg8000.legacy.Connection):  # type: ignore[misc]
    """A connection; its arguments are pg8000's, and two more.

    answer_timeout: seconds that each part of an answer may take once the connection is made; None: for ever.
    require_channel_binding: whether a login without one (RFC 5929, tls-server-end-point) is given up.
    """

    def __init__(
        self,
        *arguments: Any,
        answer_timeout: float | None = None,
        require_channel_binding: bool = False,
        **named: Any,
    ) -> None:
        self.isolation = "READ COMMITTED"
        self._begins = False
        self._settings: list[str] = []
        self._binding = _Binding.NEEDED if require_channel_binding else _Binding.OPTIONAL
        self._known: OrderedDict[tuple[str, tuple[int, ...]], PreparedStatement | None] = OrderedDict()
        self._obsolete: list[bytes] = []
        self._prepares = True
        self._sock: Any = None
        try:
            super().__init__(*arguments, **named)
        except BaseException:
            _close(self._sock)
            raise
        self._usock.settimeout(answer_timeout)
        self.register_in_adapter(pg8000.TIMESTAMPTZ, moment)

    def keep_alive(self, settings: Mapping[str, int]) -> None:
        """Sets how the client's end of the TCP connection is kept alive, where the system can."""
        options = {"idle": "TCP_KEEPIDLE", "interval": "TCP_KEEPINTVL", "count": "TCP_KEEPCNT"}
        for name, value in settings.items():
            if (option := getattr(socket, options[name], None)) is not None:
                self._usock.setsockopt(socket.IPPROTO_TCP, option, value)

    def close(self) -> None:
        """As pg8000's; the buffers are closed as well, or the descriptor stays open until they are collected."""
        buffers = self._sock
        try:
            super().close()
        finally:
            _close(buffers)

    def handle_AUTHENTICATION_REQUEST(self, data: bytes, context: Any) -> None:  # noqa: N802 - pg8000's name
        """Answers the server's request to log in, unless the login would not be bound to the TLS channel."""
        (kind,) = _BYTES.unpack_from(data)
        if kind == _SASL and b"SCRAM-SHA-256-PLUS" in data and self._binding is _Binding.NEEDED:
            self._binding = _Binding.OFFERED
        if self._binding is _Binding.NEEDED:
            raise LoginImpossible("the server offers no channel binding, which channel_binding=require asks for")
        if kind in _ASKING_FOR_PASSWORD and self.password is None:
            raise LoginImpossible("the server asks for a password, and DATABASE_URL has none")
        super().handle_AUTHENTICATION_REQUEST(data, context)

    def cursor(self) -> "Cursor":
        return Cursor(self)

    def begin(self) -> None:
        """Begins a transaction, unless one is open; it is sent together with the statement that it is for."""
        self._begins = not (self._in_transaction or self.autocommit)

    def set_for_transaction(self, statement: str) -> Any:
        """Runs SET LOCAL or SET TRANSACTION; where it begins the transaction, together with the statement after it."""
        if not self._begins:
            return self.execute_simple(statement)
        self._settings.append(statement)
        return core.Context(statement)

    def execute_simple(self, statement: str) -> Any:
        """Runs one or more statements that have no parameters."""
        return super().execute_simple(";".join((*self._take_begin(), statement)))

    def execute_numbered(self, statement: str, values: Sequence[Any], oids: Sequence[int] = ()) -> Any:
        """Runs a statement with parameters `$1`, `$2` and so on. Nothing is sent when a value cannot be."""
        begins, settings, key = self._begins, self._settings, (statement, tuple(oids))
        sent = make_params(self.py_types, values)
        try:
            return self._execute(key, sent)
        except pg8000.DatabaseError as error:
            if not self._lost(error, key):
                raise
            if not begins and self._in_transaction:
                raise StatementsLost(error.args[0]) from None
            if begins:
                self.rollback()
                self._begins, self._settings = True, settings
            return self._execute(key, sent)

    def copy_in(self, statement: str, data: bytes) -> Any:
        """Runs COPY .. FROM STDIN on `data` in one round trip: the server is not waited for before the data is sent.

        After an error it skips what is left, up to the Sync.
        """
        context = core.Context(statement)
        copied = (_message(core.COPY_DATA, data), _message(core.COPY_DONE, b""))
        self._send(_preparation(_UNNAMED, statement, ()), _execution(_UNNAMED, ()), *copied)
        self.handle_messages(context)
        return context

    def handle_COPY_IN_RESPONSE(self, data: bytes, context: Any) -> None:  # noqa: N802 - pg8000's name
        """The server wants the data, which is on its way already."""

    def commit(self) -> None:
        """Ends the transaction and keeps what it did, if there is one."""
        self._take_begin()
        if self._in_transaction:
            self.execute_simple("commit")

    def rollback(self) -> None:
        """Ends the transaction and what it did, if there is one."""
        self._take_begin()
        if self._in_transaction:
            self.execute_simple("rollback")

    def handle_messages(self, context: Any) -> None:
        """Reads answers up to the end of the cycle; pg8000's own reads them twice as slowly."""
        read, handlers, code = self._sock.read, self.message_types, b""
        try:
            while code != core.READY_FOR_QUERY:
                code, length = _HEADER.unpack(read(5))
                handlers[code](read(length - 4), context)
        except (OSError, struct_error) as error:
            raise core.InterfaceError("network error") from error
        if context.error is not None:
            raise context.error

    def _execute(self, key: tuple[str, tuple[int, ...]], values: Sequence[str | None]) -> Any:
        """One cycle. A statement that was seen before is prepared; one that was not may never come again."""
        statement, oids = key
        context = core.Context(statement)
        seen, prepared = key in self._known, self._known.pop(key, None)
        if prepared is not None:
            self._known[key] = prepared
            context.columns, context.input_funcs = prepared.columns, prepared.input_functions
            context.rows = None if prepared.columns is None else []
            self._send(b"", _execution(prepared.name, values))
            self.handle_messages(context)
            return context
        name = _name(key) if seen and self._prepares else _UNNAMED
        self._send(_preparation(name, statement, oids), _execution(name, values))
        try:
            self.handle_messages(context)
        except pg8000.DatabaseError:
            if name != _UNNAMED:
                self._obsolete.append(name)  # the error does not show whether the server has it
            raise
        self._remember(key, PreparedStatement(name, context.columns, context.input_funcs) if name != _UNNAMED else None)
        return context

    def _remember(self, key: tuple[str, tuple[int, ...]], prepared: PreparedStatement | None) -> None:
        self._known[key] = prepared
        if len(self._known) > STATEMENTS:
            _, oldest = self._known.popitem(last=False)
            if oldest is not None:
                self._obsolete.append(oldest.name)

    def _lost(self, error: Exception, key: tuple[str, tuple[int, ...]]) -> bool:
        """Whether an error means that prepared statements are of no use any more; they are forgotten then."""
        fields = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
        code = fields.get("C")
        if not (code in (_LOST, _DUPLICATE) or (code == _CHANGED and fields.get("R") == "RevalidateCachedQuery")):
            return False
        if code != _CHANGED:
            self._prepares = False  # somebody else decides here what is prepared
        self._obsolete += [known.name for known in self._known.values() if known is not None]
        self._known.clear()
        return True

    def _take_begin(self) -> list[str]:
        """The statements that are to be sent before the next one."""
        first = [_BEGIN, *self._settings] if self._begins else []
        self._begins, self._settings = False, []
        return first

    def _send(self, *messages: bytes) -> None:
        closing = b"".join(_message(core.CLOSE, core.STATEMENT + name) for name in self._obsolete)
        self._obsolete.clear()
        first = map(_unprepared, self._take_begin())
        try:
            self._sock.write(b"".join((closing, *first, *messages, core.SYNC_MSG)))
            self._sock.flush()
        except OSError as error:
            raise core.InterfaceError("network error") from error
        except (AttributeError, ValueError):  # closed: there is no socket, or its file is
            raise core.InterfaceError("connection is closed") from None


class Cursor(pg8000.legacy.Cursor):  # type: ignore[misc]
    """A cursor whose statements have numbered parameters."""

    def execute(self, operation: str, args: Sequence[Any] = ()) -> "Cursor":
        """Runs a statement; its rows are there when this returns. The one argument of a COPY is its data, in bytes."""
        connection: PreparedConnection | None = self._c
        if connection is None:
            raise core.InterfaceError("Cursor closed")
        connection.begin()
        try:
            if operation.startswith("COPY "):
                self._context = connection.copy_in(operation, args[0])
            elif operation.startswith(_OF_TRANSACTION):
                self._context = connection.set_for_transaction(operation)
            elif args:
                self._context = connection.execute_numbered(operation, args, self._input_oids)
            else:
                self._context = connection.execute_simple(operation)
        except pg8000.DatabaseError as error:
            raise _classified(error) from None
        self._row_iter = iter(self._context.rows or ())
        self._input_oids: Sequence[int] = ()
        return self


def moment(text: str) -> Any:
    """A timestamptz as pg8000 reads it: a datetime, or the text where Python has no such time, as for "infinity".

    PostgreSQL writes ISO 8601, which datetime reads fifty times faster than strptime does; rows are full of moments.
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return timestamptz_in(text)


def _classified(error: Exception) -> Exception:
    """The error as the class that pg8000's own cursor raises for its code."""
    if isinstance(error, StatementsLost):
        return error
    fields = error.args[0]
    code = fields.get("C") if isinstance(fields, dict) else None
    kinds: dict[Any, type[Exception]] = {"28000": pg8000.InterfaceError, "23505": pg8000.IntegrityError}
    kind: type[Exception] = kinds.get(code, pg8000.ProgrammingError)
    return kind(fields)


def _name(key: tuple[str, tuple[int, ...]]) -> bytes:
    """A name that no other statement has, whoever shares the server's session."""
    return b"sentinel_" + hashlib.blake2b(repr(key).encode(), digest_size=16).hexdigest().encode() + b"\0"


def _preparation(name: bytes, statement: str, oids: Sequence[int]) -> bytes:
    """Parse and Describe."""
    types = b"".join(_BYTES.pack(max(oid, 0)) for oid in oids)
    parse = name + statement.encode() + b"\0" + _COUNT.pack(len(oids)) + types
    return _message(core.PARSE, parse) + _message(core.DESCRIBE, core.STATEMENT + name)


def _execution(name: bytes, values: Iterable[str | None]) -> bytes:
    """Bind, with every value as text, and Execute, of the unnamed portal."""
    values = tuple(values)
    parts = [b"\0", name, _COUNT.pack(0), _COUNT.pack(len(values))]
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            encoded = value.encode()
            parts += (_BYTES.pack(len(encoded)), encoded)
    parts.append(_COUNT.pack(0))
    return _message(core.BIND, b"".join(parts)) + bytes(core.EXECUTE_MSG)


def _message(code: bytes, content: bytes) -> bytes:
    return code + _BYTES.pack(len(content) + 4) + content


@lru_cache(maxsize=16)
def _unprepared(statement: str) -> bytes:
    """All that runs a statement without parameters."""
    return _preparation(_UNNAMED, statement, ()) + _execution(_UNNAMED, ())
