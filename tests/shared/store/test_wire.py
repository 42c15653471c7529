"""The connection says everything at once, and means what pg8000 means."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pg8000.legacy
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pg8000.converters import timestamptz_in
from sqlalchemy.exc import DBAPIError

from shared.store import wire

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
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect() as opened:
        opened.execute(sa.text("CREATE TEMPORARY TABLE seen (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
        opened.commit()
        yield opened
        opened.rollback()
        opened.execute(sa.text("DROP TABLE seen"))
        opened.commit()


@pytest.fixture
def line(connection: sa.Connection) -> Iterator[Line]:
    driver = connection.connection.driver_connection
    assert isinstance(driver, wire.Connection)
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


def test_a_text_is_read_once(connection: sa.Connection) -> None:
    add(connection, 1)
    before = wire.numbered.cache_info()
    add(connection, 2)
    after = wire.numbered.cache_info()
    assert (after.hits, after.misses) == (before.hits + 1, before.misses)
    assert wire.numbered("SELECT '%s', %s, %s") == "SELECT '%s', $1, $2"
    assert pg8000.legacy.convert_paramstyle("named", "SELECT :n", {"n": 1}) == ("SELECT $1", (1,))


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
