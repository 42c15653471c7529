"""What a database URL means, and what its errors mean."""

import pytest
import sqlalchemy as sa
from pg8000.exceptions import DatabaseError, InterfaceError
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError

from shared.errors import PoisonEvent, StoreUnavailable
from shared.store.database import connect, is_transient, sqlstate, transient_errors
from shared.store.unit_of_work import Store
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
