"""What a database URL means, and what its errors mean."""

import ssl
import sys
from typing import Any

import pg8000.dbapi
import pytest
import sqlalchemy as sa
from pg8000.exceptions import DatabaseError, InterfaceError
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError

from shared.errors import ConfigurationError, PoisonEvent, StoreUnavailable
from shared.store.database import connect, is_transient, sqlstate, transient_errors
from shared.store.unit_of_work import Store

SCANNER = pg8000.dbapi.convert_paramstyle.__code__


def arguments(url: str) -> dict[str, Any]:
    """What the driver would be given for this URL."""
    engine = connect(url)
    given: dict[str, Any] = {}

    def refuse(_dialect: object, _record: object, _args: object, parameters: dict[str, Any]) -> None:
        given.update(parameters)
        raise PoisonEvent("enough")

    sa.event.listen(engine, "do_connect", refuse)
    with pytest.raises(PoisonEvent):
        engine.connect()
    engine.dispose()
    return given


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("nonsense", "is not a database URL"),
        ("", "is not a database URL"),
        ("postgresql://u:hunter2@h:port/d", "is not a database URL"),
        ("postgresql://u:hunter2@[::1/d", "is not a database URL"),
        ("mysql://u:hunter2@h/d", "must start with postgresql"),
        ("postgresql+psycopg://u:hunter2@h/d", "must start with postgresql"),
    ],
)
def test_a_url_that_is_not_for_us_is_refused_without_its_password(url: str, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected) as refused:
        connect(url)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+pg8000"])
def test_postgresql_means_pg8000(scheme: str) -> None:
    engine = connect(f"{scheme}://u:p@h/d", pool_size=3, max_overflow=1)
    assert engine.url.drivername == "postgresql+pg8000"
    assert isinstance(engine.pool, sa.QueuePool)
    assert (engine.pool.size(), engine.pool._max_overflow) == (3, 1)


@pytest.mark.parametrize("url", ["postgresql://h.example/d", "postgresql://u:p@10.0.0.1:5432/d"])
def test_a_server_elsewhere_is_reached_over_verified_tls(url: str) -> None:
    context = arguments(url)["ssl_context"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize(
    "url",
    ["postgresql://localhost/d", "postgresql://127.0.0.1/d", "postgresql://[::1]/d"],
)
def test_a_server_here_need_not_have_it(url: str) -> None:
    assert "ssl_context" not in arguments(url)


def test_a_unix_socket_has_none() -> None:
    assert arguments("postgresql://u@/d?unix_sock=/s")["ssl_context"] is False


@pytest.mark.parametrize(
    "code",
    [None, "08006", "40001", "40P01", "53100", "53300", "57P01", "57P02", "57P03", "57014", "58030", "25006", "55P03"],
)
def test_what_a_retry_may_mend(code: str | None) -> None:
    assert is_transient(code)


@pytest.mark.parametrize("code", ["23505", "22003", "42601", "42501", "42P01", "28P01", "3D000", "25001", "XX000"])
def test_what_it_will_not(code: str) -> None:
    assert not is_transient(code)


def refused(error: Exception) -> DBAPIError:
    return DBAPIError("SELECT 1", None, error)


def test_sqlstate_is_the_servers_code_if_it_answered() -> None:
    assert sqlstate(refused(DatabaseError({"C": "40001"}))) == "40001"
    assert sqlstate(refused(DatabaseError({"M": "no code"}))) is None
    assert sqlstate(refused(InterfaceError("network error"))) is None
    assert sqlstate(refused(InterfaceError())) is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            refused(DatabaseError({"C": "40P01", "M": "deadlock detected"})),
            "the database is not available: SQLSTATE 40P01",
        ),
        (refused(InterfaceError("network error")), "the database is not available: InterfaceError"),
        (BrokenPipeError("pipe"), "the database is not available: BrokenPipeError"),
        (sa.exc.TimeoutError("pool"), "no database connection was free in time"),
    ],
)
def test_transient_errors_become_store_unavailable(error: Exception, reason: str) -> None:
    with pytest.raises(StoreUnavailable) as found, transient_errors():
        raise error
    assert str(found.value) == reason


def test_a_full_disk_is_transient_and_a_broken_rule_is_not(store: Store) -> None:
    with pytest.raises(StoreUnavailable, match="SQLSTATE 53100"), store.begin() as work:
        work.connection.execute(sa.text("DO $$ BEGIN RAISE 'full' USING ERRCODE = 'disk_full'; END $$"))
    with pytest.raises(ProgrammingError, match="42P01"), store.begin() as work:
        work.connection.execute(sa.text("SELECT * FROM nowhere"))


def test_an_error_says_where_and_not_what(store: Store) -> None:
    statement = sa.text("INSERT INTO clusters (name, labels) VALUES (:name, CAST('{}' AS jsonb))")
    with store.begin() as work:
        work.connection.execute(statement, {"name": "hunter2"})
    with pytest.raises(IntegrityError) as found, store.begin() as work:
        work.connection.execute(statement, {"name": "hunter2"})
    assert "uq_clusters_name" in str(found.value)
    assert "hunter2" not in str(found.value)
    assert sqlstate(found.value) == "23505"
    with pytest.raises(DBAPIError, match="22P02") as found_data, store.begin() as work:
        work.connection.execute(sa.text("SELECT CAST(:text AS int)"), {"text": "hunter2"})
    assert "hunter2" not in str(found_data.value)


def test_other_errors_pass_unchanged(store: Store) -> None:
    with pytest.raises(PoisonEvent), store.begin():
        raise PoisonEvent("no")
    server_silent = refused(ValueError("odd"))
    with pytest.raises(StoreUnavailable), transient_errors():
        raise server_silent


def test_the_driver_looks_for_placeholders_once_a_statement(engine: sa.Engine) -> None:
    def scans() -> int:
        calls: list[str] = []
        sys.setprofile(lambda frame, event, _: calls.append(event) if frame.f_code is SCANNER else None)
        try:
            connection.execute(statement, {"mine": "%s", "other": 2})
        finally:
            sys.setprofile(None)
        return calls.count("call")

    statement = sa.text("SELECT CAST(:mine AS text), CAST(:other AS integer), 'once a statement'")
    with engine.connect() as connection:
        assert [scans(), scans(), scans()] == [1, 0, 0]
        assert connection.execute(statement, {"mine": "%s", "other": 2}).one() == ("%s", 2, "once a statement")
