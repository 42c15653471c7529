"""What a database URL means, and what its errors mean."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest
import sqlalchemy as sa
from pg8000.exceptions import DatabaseError, InterfaceError
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError

from knative.local.runtime.postgres import EmbeddedPostgres
from shared.errors import PoisonEvent, StoreUnavailable
from shared.store.database import connect, is_transient, sqlstate, transient_errors
from shared.store.database_url import parse
from shared.store.unit_of_work import Store
from shared.store.wire import SessionLimits
from tests.support.builders import connection_of


def test_an_engine_has_the_pool_that_it_is_given() -> None:
    engine = connect("postgresql://u:p@h/d", pool_size=3, max_overflow=1)
    assert isinstance(engine.pool, sa.QueuePool)
    assert (engine.pool.size(), engine.pool._max_overflow) == (3, 1)
    assert "p@h" not in repr(engine)


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
        connection_of(work).execute(sa.text("DO $$ BEGIN RAISE 'full' USING ERRCODE = 'disk_full'; END $$"))
    with pytest.raises(ProgrammingError, match="42P01"), store.begin() as work:
        connection_of(work).execute(sa.text("SELECT * FROM nowhere"))


def test_an_error_says_where_and_not_what(store: Store) -> None:
    statement = sa.text("INSERT INTO clusters (name, labels) VALUES (:name, CAST('{}' AS jsonb))")
    with store.begin() as work:
        connection_of(work).execute(statement, {"name": "hunter2"})
    with pytest.raises(IntegrityError) as found, store.begin() as work:
        connection_of(work).execute(statement, {"name": "hunter2"})
    assert "uq_clusters_name" in str(found.value)
    assert "hunter2" not in str(found.value)
    assert sqlstate(found.value) == "23505"
    with pytest.raises(DBAPIError, match="22P02") as found_data, store.begin() as work:
        connection_of(work).execute(sa.text("SELECT CAST(:text AS int)"), {"text": "hunter2"})
    assert "hunter2" not in str(found_data.value)


def test_other_errors_pass_unchanged(store: Store) -> None:
    with pytest.raises(PoisonEvent), store.begin():
        raise PoisonEvent("no")
    server_silent = refused(ValueError("odd"))
    with pytest.raises(StoreUnavailable), transient_errors():
        raise server_silent


LIMITS = SessionLimits(
    lock=timedelta(seconds=1), statement=timedelta(milliseconds=100), idle_in_transaction=timedelta(milliseconds=50)
)


def shown(engine: sa.Engine, *names: str) -> list[str]:
    """The values that a session of this engine began with."""
    statement = sa.text("SELECT name, reset_val FROM pg_settings")
    with engine.connect() as connection:
        found = {row.name: row.reset_val for row in connection.execute(statement)}
    return [found[name] for name in names]


@pytest.fixture
def limited(postgres: EmbeddedPostgres, emptied: None) -> Iterator[sa.Engine]:
    engine = connect(postgres.url, pool_size=1, max_overflow=0, limits=LIMITS)
    yield engine
    engine.dispose()


def test_a_session_begins_with_its_limits_and_what_the_url_says_wins(postgres: EmbeddedPostgres) -> None:
    names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "work_mem")
    options = "&options=-c%20statement_timeout%3D7000%20-c%20work_mem%3D7MB"
    for url, expected in (
        (postgres.url, ["1000", "100", "50", "4096"]),
        (postgres.url + options, ["1000", "7000", "50", "7168"]),
    ):
        engine = connect(url, limits=LIMITS)
        assert shown(engine, *names) == expected
        engine.dispose()
    unlimited = connect(postgres.url)
    assert shown(unlimited, *names[:3]) == ["0", "0", "0"]
    unlimited.dispose()


def test_a_transaction_that_falls_silent_loses_its_locks_and_is_unavailable(
    limited: sa.Engine, owner_engine: sa.Engine
) -> None:
    cut_off = Store(limited)
    lock = sa.text("SELECT pg_advisory_xact_lock(77)")

    def fall_silent() -> None:
        with cut_off.begin() as work:
            connection_of(work).execute(lock)
            with owner_engine.begin() as other:
                other.execute(lock)  # waits until the server has ended the silent session
            connection_of(work).execute(sa.text("SELECT 1"))

    with pytest.raises(StoreUnavailable):
        fall_silent()
    with cut_off.begin() as work:
        assert work.now is not None


def test_a_statement_that_takes_too_long_is_unavailable(limited: sa.Engine) -> None:
    with pytest.raises(StoreUnavailable, match="57014"), Store(limited).begin() as work:
        connection_of(work).execute(sa.text("SELECT pg_sleep(30)"))


def test_both_ends_of_a_connection_over_tcp_are_kept_alive(postgres: EmbeddedPostgres) -> None:
    user = parse(postgres.url).user
    names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
    with forwarded(postgres.url) as port:
        engine = connect(f"postgresql://{user}@127.0.0.1:{port}/sentinel?sslmode=disable")
        try:
            at_the_server = shown(engine, *names)
            with engine.connect() as connection:
                line = connection.connection.driver_connection._usock  # type: ignore[union-attr]  # pg8000's own
                options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
                at_the_client = [line.getsockopt(socket.IPPROTO_TCP, option) for option in options]
        finally:
            engine.dispose()
    assert at_the_server == ["30", "10", "3", "60000"]
    assert at_the_client == [30, 10, 3]


@contextmanager
def forwarded(url: str) -> Iterator[int]:
    """A port on loopback that leads to a server's Unix socket, for one connection."""
    target = parse(url).unix_socket
    assert target is not None
    with socket.create_server(("127.0.0.1", 0)) as door, ThreadPoolExecutor(2) as pumps:

        def pump(source: socket.socket, sink: socket.socket) -> None:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

        def forward() -> None:
            client, _ = door.accept()
            with client, socket.socket(socket.AF_UNIX) as server:
                server.connect(target)
                back = pumps.submit(pump, server, client)
                pump(client, server)
                back.result()

        pumps.submit(forward)
        yield int(door.getsockname()[1])
