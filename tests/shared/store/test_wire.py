"""The connection says everything at once, and means what pg8000 means."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pg8000.converters import timestamptz_in
from sqlalchemy.exc import DBAPIError

from knative.local.runtime.postgres import EmbeddedPostgres
from shared.errors import StoreUnavailable
from shared.store import wire
from shared.store.database import connect, transient_errors
from tests.support.serving import ROOT

ECHO = sa.text("SELECT CAST(:text AS text), CAST(:number AS numeric), CAST(:some AS bytea), CAST(:whole AS bigint)")
AMOUNTS = st.decimals(-(10**9), 10**9, allow_nan=False, allow_infinity=False, places=6)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50)


class Line:
    """A connection's file, which counts how often what was written is sent."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.sent = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def flush(self) -> None:
        self.sent += 1
        self._file.flush()


@pytest.fixture
def connection(postgres: EmbeddedPostgres) -> Iterator[sa.Connection]:
    """A connection that nobody used before, with a table of its own."""
    engine = connect(postgres.url, pool_size=1)
    with engine.connect() as opened:
        opened.execute(sa.text("CREATE TEMPORARY TABLE seen (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
        opened.commit()
        yield opened
        opened.rollback()
    engine.dispose()


@pytest.fixture
def line(connection: sa.Connection) -> Iterator[Line]:
    driver = connection.connection.driver_connection
    assert isinstance(driver, wire.PreparedConnection)
    file = driver._sock
    driver._sock = counting = Line(file)
    yield counting
    driver._sock = file


def seen(connection: sa.Connection) -> list[int]:
    return list(connection.execute(sa.text("SELECT n FROM seen ORDER BY n")).scalars())


def add(connection: sa.Connection, n: int) -> None:
    connection.execute(sa.text("INSERT INTO seen VALUES (:n)"), {"n": n})


def test_a_statement_is_one_round_trip_and_beginning_none(connection: sa.Connection, line: Line) -> None:
    add(connection, 1)
    assert line.sent == 1
    assert seen(connection) == [1]
    assert line.sent == 2
    connection.commit()
    assert line.sent == 3
    connection.execute(sa.text("SELECT 1"))
    assert line.sent == 4


@pytest.mark.parametrize("statement", ["SHOW lock_timeout", "SELECT current_setting(:name)", "COPY"])
def test_what_is_set_for_a_transaction_goes_with_its_first_statement(
    connection: sa.Connection, line: Line, statement: str
) -> None:
    def setting() -> Any:
        if statement == "COPY":
            connection.exec_driver_sql("COPY seen FROM STDIN", (b"1\n",))
            return connection.execute(sa.text("SHOW lock_timeout")).scalar_one()
        return connection.execute(sa.text(statement), {"name": "lock_timeout"}).scalar_one()

    for value in ("7ms", "8ms", "9ms"):
        line.sent = 0
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        connection.execute(sa.text(f"SET LOCAL lock_timeout = '{value}'"))
        assert line.sent == 0
        assert setting() == value
        assert line.sent == (2 if statement == "COPY" else 1)
        assert connection.execute(sa.text("SHOW transaction_isolation")).scalar_one() == "repeatable read"
        connection.execute(sa.text("SET LOCAL lock_timeout = '1ms'"))
        assert setting() == "1ms"
        connection.rollback()
        assert setting() == "0"
        connection.rollback()


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_transaction_that_only_sets_something_sends_nothing(connection: sa.Connection, line: Line, end: str) -> None:
    connection.execute(sa.text("SET LOCAL lock_timeout = '7ms'"))
    getattr(connection, end)()
    assert line.sent == 0
    assert connection.execute(sa.text("SHOW lock_timeout")).scalar_one() == "0"


def test_a_setting_that_the_server_refuses_fails_the_statement_after_it(connection: sa.Connection) -> None:
    connection.execute(sa.text("SET LOCAL lock_timeout = '-7ms'"))
    with pytest.raises(DBAPIError, match="22023"):
        add(connection, 1)
    connection.rollback()
    assert seen(connection) == []


@pytest.mark.parametrize("first", ["INSERT INTO seen VALUES (1)", "INSERT INTO seen VALUES (:n)"])
def test_the_first_statement_is_in_the_transaction(connection: sa.Connection, first: str) -> None:
    connection.execute(sa.text(first), {"n": 1} if ":n" in first else {})
    assert seen(connection) == [1]
    connection.rollback()
    assert seen(connection) == []


@pytest.mark.parametrize("text", ["SELECT * FROM nowhere", "SELECT :n FROM nowhere", "SELECT 1 / :n"])
def test_after_an_error_nothing_runs_until_the_rollback(connection: sa.Connection, text: str) -> None:
    with pytest.raises(DBAPIError):
        connection.execute(sa.text(text), {"n": 0} if ":n" in text else {})
    with pytest.raises(DBAPIError, match="25P02"):
        add(connection, 1)
    connection.rollback()
    assert seen(connection) == []


def test_a_commit_that_fails_says_so(connection: sa.Connection) -> None:
    add(connection, 1)
    add(connection, 1)
    with pytest.raises(DBAPIError, match="23505"):
        connection.commit()
    connection.rollback()
    assert seen(connection) == []


def test_what_cannot_be_sent_leaves_the_transaction_as_it_was(connection: sa.Connection) -> None:
    for before in ((), (1,)):
        for n in before:
            add(connection, n)
        with pytest.raises(UnicodeEncodeError):
            connection.execute(ECHO, {"text": "\ud800", "number": 1, "some": b"", "whole": 1})
        assert seen(connection) == list(before)


def test_a_closed_connection_is_known_as_one(engine: sa.Engine) -> None:
    with engine.connect() as opened:
        driver = opened.connection.driver_connection
        assert driver is not None
        driver.close()
        with pytest.raises(DBAPIError, match="connection is closed") as found:
            opened.execute(ECHO, {"text": "", "number": 1, "some": b"", "whole": 1})
        assert found.value.connection_invalidated


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    text=st.none() | TEXTS,
    number=st.none()
    | st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**9), max_value=10**9),
    some=st.none() | st.binary(max_size=50),
    whole=st.none() | st.integers(-(2**63), 2**63 - 1),
)
def test_values_come_back_as_they_went(
    engine: sa.Engine, text: str | None, number: Decimal | None, some: bytes | None, whole: int | None
) -> None:
    with engine.connect() as opened:
        row = opened.execute(ECHO, {"text": text, "number": number, "some": some, "whole": whole}).one()
    assert tuple(row) == (text, number, some, whole)


def prepared(connection: sa.Connection) -> dict[str, int]:
    """The statements that the server has prepared for this connection, with how often it ran each."""
    rows = connection.execute(sa.text("SELECT statement, generic_plans + custom_plans FROM pg_prepared_statements"))
    return {str(statement): int(runs) for statement, runs in rows}


def test_a_statement_that_comes_again_is_prepared_once(connection: sa.Connection) -> None:
    text = "INSERT INTO seen VALUES ($1)"
    add(connection, 1)
    assert text not in prepared(connection)
    for n in range(2, 6):
        add(connection, n)
    assert prepared(connection)[text] == 4
    assert seen(connection) == [1, 2, 3, 4, 5]


def test_a_rollback_leaves_statements_prepared(connection: sa.Connection) -> None:
    for n in range(3):
        add(connection, n)
    connection.rollback()
    add(connection, 7)
    assert prepared(connection)["INSERT INTO seen VALUES ($1)"] == 3
    assert seen(connection) == [7]


def test_the_least_recent_statements_are_closed(connection: sa.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "STATEMENTS", 3)
    for n in (1, 1, 2, 2, 3, 3, 1, 4, 4):
        connection.execute(sa.text(f"SELECT {n}, CAST(:some AS text)"), {"some": "x"}).one()
    connection.execute(sa.text("SELECT 4, CAST(:some AS text)"), {"some": "x"}).one()
    assert {text[:8] for text in prepared(connection) if "$1::" not in text} == {"SELECT 3", "SELECT 1", "SELECT 4"}


TAKEN_AWAY = [
    "DISCARD ALL",
    "DEALLOCATE ALL",
    "ALTER TABLE pg_temp.seen ALTER COLUMN n TYPE bigint",
]


@pytest.mark.parametrize("statement", TAKEN_AWAY)
def test_a_transaction_begins_though_its_statement_was_taken_away(connection: sa.Connection, statement: str) -> None:
    select = sa.text("SELECT n FROM seen WHERE n = :n")
    for n in range(3):
        add(connection, n)
        connection.execute(select, {"n": 1}).all()
    connection.commit()
    driver = connection.connection.driver_connection
    assert isinstance(driver, wire.PreparedConnection)
    driver.execute_simple(statement)  # outside of a transaction, as DISCARD ALL must be
    if statement == "DISCARD ALL":  # which takes temporary tables too
        connection.execute(sa.text("CREATE TEMPORARY TABLE seen AS SELECT 1 AS n"))
        connection.commit()
    connection.execute(sa.text("SET LOCAL lock_timeout = '7ms'"))
    assert connection.execute(select, {"n": 1}).scalars().all() == [1]
    assert connection.execute(sa.text("SHOW lock_timeout")).scalar_one() == "7ms"
    connection.rollback()
    assert connection.execute(select, {"n": 1}).scalars().all() == [1]


def test_in_the_middle_of_a_transaction_a_retry_mends_it(connection: sa.Connection) -> None:
    for n in range(3):
        add(connection, n)
    connection.commit()
    connection.execute(sa.text("SELECT 1"))
    connection.execute(sa.text("DEALLOCATE ALL"))
    with pytest.raises(StoreUnavailable, match="SQLSTATE 26000"), transient_errors():
        add(connection, 3)
    connection.rollback()
    add(connection, 3)
    assert seen(connection) == [0, 1, 2, 3]


def test_another_error_of_a_prepared_statement_stays_what_it_is(connection: sa.Connection) -> None:
    divide = sa.text("SELECT 10 / CAST(:n AS int)")
    for n in (1, 2, 5):
        connection.execute(divide, {"n": n}).one()
    with pytest.raises(DBAPIError, match="22012"):
        connection.execute(divide, {"n": 0})
    connection.rollback()
    assert connection.execute(divide, {"n": 5}).scalar_one() == 2


def test_a_statement_that_fails_when_it_is_prepared_is_prepared_later(connection: sa.Connection) -> None:
    divide = sa.text("SELECT 10 / CAST(:n AS int), 'later'")
    connection.execute(divide, {"n": 1}).one()
    for _ in range(2):
        with pytest.raises(DBAPIError, match="22012"):
            connection.execute(divide, {"n": 0})
        connection.rollback()
    for n in (1, 2):
        connection.execute(divide, {"n": n}).one()
    assert any("later" in text for text in prepared(connection))


def test_preparing_changes_no_function_of_pg8000() -> None:
    code = "import pg8000, pg8000.legacy as l; a = l.convert_paramstyle; import shared.store.database; "
    done = subprocess.run([sys.executable, "-c", code + "assert l.convert_paramstyle is a"], cwd=ROOT, check=False)
    assert done.returncode == 0


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_comes_back_as_it_went(engine: sa.Engine, at: datetime) -> None:
    with engine.connect() as connection:
        found = connection.execute(sa.select(sa.literal(at, sa.DateTime(timezone=True)))).scalar_one()
    assert (found, found.tzinfo) == (at, UTC)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns"])
@pytest.mark.parametrize(
    "text",
    [
        "2026-11-28 12:10:35.433+00",
        "2026-11-28 12:10:35+00",
        "2026-11-28 12:10:35.4+05:30",
        "infinity",
        "-infinity",
        "0044-03-15 12:00:00+00 BC",
        "20000-01-01 00:00:00+00",
    ],
)
def test_a_moment_is_read_as_pg8000_reads_it(engine: sa.Engine, text: str, zone: str) -> None:
    with engine.connect() as connection:
        connection.execute(sa.text(f"SET LOCAL TIME ZONE '{zone}'"))
        written = connection.execute(sa.text(f"SELECT CAST('{text}' AS timestamptz)::text")).scalar_one()
        read = connection.execute(sa.text(f"SELECT CAST('{text}' AS timestamptz)")).scalar_one()
    assert (read, type(read)) == (timestamptz_in(written), type(timestamptz_in(written)))


def test_a_copy_is_part_of_the_transaction_that_it_begins(engine: sa.Engine) -> None:
    copied = b"copied\t1\n"
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE TEMPORARY TABLE taken (name text PRIMARY KEY, number int)"))
        connection.commit()
        assert connection.exec_driver_sql("COPY taken FROM STDIN", (copied,)).rowcount == 1
        connection.rollback()
        assert connection.execute(sa.text("SELECT count(*) FROM taken")).scalar_one() == 0
        connection.execute(sa.text("DROP TABLE taken"))
        connection.commit()


@pytest.mark.parametrize("data", [b"a\t1\na\t1\n", b"a\tx\n" * 50_000, b"\xff\t1\n"], ids=["twice", "bad", "not UTF-8"])
def test_a_copy_that_fails_leaves_the_connection_usable(engine: sa.Engine, data: bytes) -> None:
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE TEMPORARY TABLE taken (name text PRIMARY KEY, number int) ON COMMIT DROP"))
        with pytest.raises(DBAPIError):
            connection.exec_driver_sql("COPY taken FROM STDIN", (data,))
        connection.rollback()
        assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1
