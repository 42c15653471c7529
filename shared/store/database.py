"""The connection to PostgreSQL, and what its errors mean.

What a retry can mend (the server away or restarting, a serialization failure, a deadlock, no
connection free, a full disk) is StoreUnavailable. Everything else is a defect of ours and stays as it
is, but for the values that PostgreSQL and SQLAlchemy quote: a whole row at times, and a workload's environment has
no place in a log.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared import tracing
from shared.errors import StoreContended, StoreUnavailable
from shared.store import database_url, wire
from shared.store.wire import NO_LIMITS, SessionLimits

POOL_SIZE = 20
MAX_OVERFLOW = 10
# PostgreSQL, appendix A: connection, transaction rollback, insufficient resources, operator
# intervention, system error; read-only while a standby is promoted; a transaction that was silent for too long; a lock.
_TRANSIENT_CLASSES = ("08", "40", "53", "57", "58")
_TRANSIENT_CODES = ("25006", "25P03", "55P03")
_CONTENDED_CODES = ("40001", "40P01", "55P03")


def connect(
    url: str,
    *,
    pool_size: int = POOL_SIZE,
    max_overflow: int = MAX_OVERFLOW,
    limits: SessionLimits = NO_LIMITS,
) -> sa.Engine:
    """An engine for `url`; it opens no connection yet. Raises ConfigurationError as `database_url.parse` does.

    limits: of each connection; a transaction that exceeds one is given up as StoreUnavailable.
    """
    parameters = database_url.parse(url)
    engine = sa.create_engine(
        f"{wire.DRIVER}://",
        creator=lambda: wire.open_connection(parameters, limits),
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=10,
        hide_parameters=True,  # an error's text goes to the log, and a workload's environment may hold a secret
    )
    if (recorder := tracing.recorder()) is not None:
        from shared.store import spans

        spans.listen(engine, recorder)
    return engine


@contextmanager
def transient_errors() -> Iterator[None]:
    """Turns what a retry can mend into StoreUnavailable; any other DBAPIError loses the values that it quotes."""
    try:
        yield
    except PoolTimeout:
        raise StoreUnavailable("no database connection was free in time") from None
    except DBAPIError as error:
        if sqlstate(error) in _CONTENDED_CODES:
            raise StoreContended(f"the database is not available: {_reason(error)}") from None
        if error.connection_invalidated or isinstance(error.orig, wire.StatementsLost) or is_transient(sqlstate(error)):
            raise StoreUnavailable(f"the database is not available: {_reason(error)}") from None
        raise _without_values(error).with_traceback(error.__traceback__) from None
    except OSError as error:
        raise StoreUnavailable(f"the database is not available: {type(error).__name__}") from None


def sqlstate(error: DBAPIError) -> str | None:
    """The five-character SQLSTATE, or None when the server never answered."""
    arguments = getattr(error.orig, "args", ())
    if arguments and isinstance(arguments[0], dict):
        code = arguments[0].get("C")
        return str(code) if code else None
    return None


def _without_values(error: DBAPIError) -> DBAPIError:
    """The same error, with the server's code, message, table, column and constraint, and without its detail.

    Messages of class 22 (data exception) quote values too.
    """
    if (code := sqlstate(error)) is None or error.orig is None:
        return error
    kept = "Ctcn" if code.startswith("22") else "CMtcn"  # field names of PostgreSQL's ErrorResponse
    said = {name: text for name, text in error.orig.args[0].items() if name in kept}
    return type(error)(error.statement, None, type(error.orig)(said), hide_parameters=True)


def is_transient(code: str | None) -> bool:
    """Whether a retry may succeed; no code at all means that the connection broke."""
    return code is None or code[:2] in _TRANSIENT_CLASSES or code in _TRANSIENT_CODES


def _reason(error: DBAPIError) -> str:
    if isinstance(error.orig, wire.LoginImpossible):
        return str(error.orig)
    return f"SQLSTATE {code}" if (code := sqlstate(error)) else type(error.orig).__name__
