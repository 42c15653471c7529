"""A crash at any point, and the database away: nothing half done, and recovery without a restart."""

import uuid
from collections.abc import Iterator, Sequence

import pytest
import sqlalchemy as sa

from events import CATALOGUE
from events.plan import PlanProposed
from knative.local.runtime.postgres import EmbeddedPostgres
from shared.eventing.event import Event, Outgoing
from shared.eventing.function import TransactionalFunction
from shared.eventing.processing import Processor
from shared.store.database import connect
from shared.store.unit_of_work import Store, UnitOfWork
from tests.support.builders import (
    INTAKE,
    POLICY,
    PROPOSED,
    SUBMITTED,
    TESTS,
    Deliver,
    connection_of,
    request,
    rows,
    submission,
)
from tests.support.emitters import PLAN, error, state, tells

# Crashes -------------------------------------------------------------------------------------------------------------


class Killed(Exception):
    """A crash that a test asked for."""


class CrashingEngine:
    """An engine that crashes at the nth statement or commit from now on."""

    def __init__(self, url: str) -> None:
        self.engine = connect(url)
        self.remaining: int | None = None
        self.passed = 0
        sa.event.listen(self.engine, "before_cursor_execute", self._count)
        sa.event.listen(self.engine, "commit", self._count)

    def _count(self, *_: object) -> None:
        self.passed += 1
        if self.remaining is not None:
            self.remaining -= 1
            if self.remaining < 0:
                self.remaining = None
                raise Killed


@pytest.fixture
def crashing(database_url: str) -> Iterator[CrashingEngine]:
    engine = CrashingEngine(database_url)
    yield engine
    engine.engine.dispose()


def test_a_crash_at_any_statement_or_commit_leaves_nothing_half_done(
    deliver: Deliver, crashing: CrashingEngine, owner_engine: sa.Engine
) -> None:
    fragile = Deliver(Store(crashing.engine))

    def submitted(number: object) -> tuple[dict[str, str], bytes]:
        return request(SUBMITTED, submission(f"w-{number}"), reply=False, subject=None)

    def proposed(number: object) -> tuple[dict[str, str], bytes]:
        return deliver.forwarded(deliver.submit(f"p-{number}"))

    for function, make in ((INTAKE, submitted), (POLICY, proposed)):
        fragile.raw(function, *make("count"))  # the first one also opens a connection
        crashing.passed = 0
        fragile.raw(function, *make("counted"))
        points = crashing.passed
        assert points > 8
        for point in range(points):
            headers, body = make(point)
            before = state(owner_engine)
            crashing.remaining = point
            with pytest.raises(Killed):
                fragile.raw(function, headers, body)
            assert state(owner_engine) == before, f"{function.name} at {point}"
            assert fragile.raw(function, headers, body).status == 200


# The database away ---------------------------------------------------------------------------------------------------


def test_terminated_connections_cost_a_503_each_and_no_restart(
    postgres: EmbeddedPostgres, store: Store, owner_engine: sa.Engine
) -> None:
    engine = connect(postgres.url, pool_size=1, max_overflow=0)
    own = Deliver(Store(engine))
    assert own(tells(), PROPOSED, PLAN).status == 202
    with engine.connect() as connection:
        pid = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
    with owner_engine.connect() as connection:
        connection.execute(sa.text(f"SELECT pg_terminate_backend({pid}, 5000)"))
    answers = [own(tells(), PROPOSED, PLAN, event_id="e") for _ in range(2)]
    assert [answer.status for answer in answers] == [503, 202]
    assert error(answers[0]).startswith("the database is not available: ")
    engine.dispose()


def test_a_connection_that_is_terminated_in_a_transaction_is_503_and_leaves_nothing(
    deliver: Deliver, owner_engine: sa.Engine
) -> None:
    def handle(event: Event, work: UnitOfWork) -> Sequence[Outgoing]:
        work.audit("seen", "x", TESTS)
        work.write_audits()
        pid = connection_of(work).execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
        with owner_engine.connect() as connection:
            connection.execute(sa.text(f"SELECT pg_terminate_backend({pid}, 5000)"))
        return []

    function = TransactionalFunction("teller", CATALOGUE.of(PlanProposed), handle)
    assert deliver(function, PROPOSED, PLAN, event_id="e").status == 503
    assert rows(owner_engine, "audit_log") == []
    assert deliver(tells(), PROPOSED, PLAN, event_id="e").status == 202


def test_a_server_that_is_away_is_503_without_a_word_about_where_it_was() -> None:
    nowhere = f"/tmp/{uuid.uuid4()}/.s.PGSQL.5432"
    store = Store(connect(f"postgresql+pg8000://sentinel@/sentinel?unix_sock={nowhere}"))
    answer = Processor(tells(), store, CATALOGUE, "/x").process(*request(PROPOSED, PLAN))
    assert answer.status == 503
    assert error(answer) == "the database is not available: InterfaceError"


def test_a_broker_hears_of_a_refusal_only_while_its_dead_letter_could_be_kept() -> None:
    nowhere = f"/tmp/{uuid.uuid4()}/.s.PGSQL.5432"
    store = Store(connect(f"postgresql+pg8000://sentinel@/sentinel?unix_sock={nowhere}"))
    processor = Processor(tells(), store, CATALOGUE, "/x")
    for headers, body in (request("com.example.unknown", {}), request(PROPOSED, b"{no json")):
        assert processor.process(headers, body).status == 503
        del headers["prefer"]
        assert processor.process(headers, body).status in (400, 422)


def test_no_free_connection_is_503(postgres: EmbeddedPostgres, store: Store) -> None:
    engine = sa.create_engine(postgres.url, pool_size=1, max_overflow=0, pool_timeout=0.01)
    with engine.connect():
        answer = Deliver(Store(engine))(tells(), PROPOSED, PLAN)
    assert (answer.status, error(answer)) == (503, "no database connection was free in time")
    engine.dispose()
