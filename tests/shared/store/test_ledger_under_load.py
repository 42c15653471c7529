"""The ledger while eight processes decide at once and crash between any two statements: nothing is ever oversold.

`make test` draws a few hundred plans, `make test-slow` thousands: SENTINEL_LOAD_STEPS is the number of steps of each of
the eight processes, and five steps make about four plans. SENTINEL_LOAD_SEED draws others.
"""

import itertools
import multiprocessing
import multiprocessing.connection
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from functions.deployment_execution import function as deployment_execution
from knative.local.runtime.postgres import EmbeddedPostgres
from shared.eventing.processing import HttpAnswer
from shared.models.cluster import Cluster
from shared.operations.apply import TaskDone
from shared.policy.documents import PolicyDocument
from shared.policy.months import next_month
from shared.store import audit
from shared.store.database import connect
from shared.store.unit_of_work import Store
from tests.support import load as loading
from tests.support.builders import APPROVED, INTAKE, POLICY, WITHDRAWN, Deliver, id_of, told, withdrawal
from tests.support.crashes import KILLED
from tests.support.invariants import broken, checked, difference_of_accounts
from tests.support.load import ALIKE, CAPPED, REGIONS, Load
from tests.support.queueing import queued

PROCESSES = 8
STEPS = int(os.environ.get("SENTINEL_LOAD_STEPS", "60"))
SEED = int(os.environ.get("SENTINEL_LOAD_SEED", "4"))
CRASHES = 0.03
REPLICA_USD = Decimal("0.965340")
"""What each replica of the teams delta and epsilon costs an hour: one L4, 4 cores, 8 GiB."""

CAPACITY = 4
"""The GPUs of the cluster to which only workloads go that queue."""

HALF_A_CENT = Decimal("0.005")
NINETY_CENTS = Decimal("0.9")
_LOOK_EVERY_SECONDS = 0.5
_OF_DIVISION = Decimal("1e-12")
"""How much a charge may be off, in dollars."""


def policies(now: datetime, epsilon_spent: Decimal) -> list[PolicyDocument]:
    """Limits in every scope, tight enough that most of them are reached.

    epsilon_spent: what the team epsilon has cost this month.
    """
    left = Decimal((next_month(now) - now).total_seconds()) / 3600

    def quota(scope: str, **limits: object) -> dict[str, object]:
        return {"type": "quota", "scope": scope, **limits}

    def ceiling(scope: str, **limits: object) -> dict[str, object]:
        return {"type": "cost_ceiling", "scope": scope, **limits}

    def a_month(usd_per_hour: int) -> str:
        return f"{usd_per_hour * left:.6f}"

    documents: list[dict[str, object]] = [
        {"name": "workload", "rules": [quota("workload", replicas=5), ceiling("workload", usd_per_hour="40")]},
        {"name": "team", "rules": [quota("team", gpus=14, cpu="60"), ceiling("team", usd_per_month=a_month(12))]},
        {"name": "cluster", "rules": [quota("cluster", gpus_by_sku={"H100": 10, "L4": 17}, memory="90Gi")]},
        {"name": "everything", "rules": [quota("global", replicas=36), ceiling("global", usd_per_hour="31")]},
        # Whole replicas come within half a cent of it.
        {
            "name": "delta",
            "selector": {"teams": ["delta"]},
            "rules": [ceiling("team", usd_per_hour=f"{8 * REPLICA_USD - HALF_A_CENT:f}")],
        },
        # And within a dollar of this, for minutes: it was computed for eight replicas from now on.
        {
            "name": "epsilon",
            "selector": {"teams": ["epsilon"]},
            "rules": [
                ceiling("team", usd_per_month=f"{epsilon_spent + 8 * REPLICA_USD * left - NINETY_CENTS:.6f}"),
            ],
        },
        {"name": "the-month", "rules": [ceiling("global", usd_per_month=a_month(30))]},
    ]
    return [PolicyDocument.model_validate(document) for document in documents]


def watching() -> list[PolicyDocument]:
    rules = [{"type": "quota", "scope": "team", "gpus": 1}]
    modes = ("warn", "dry_run")
    return [
        PolicyDocument.model_validate({"name": f"watch-{n}", "mode": mode, "rules": rules})
        for n, mode in enumerate(modes)
    ]


class Processes:
    """The processes of a load; one that was killed is started again."""

    def __init__(self, load: Load) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([loading.__name__])
        self._load = load
        self._running = {number: self._start(number, 0) for number in range(PROCESSES)}
        self.killed = 0

    def alive(self) -> bool:
        """Waits a little; whether any is still at work. Fails when one ended of itself."""
        multiprocessing.connection.wait([p.sentinel for p in self._running.values()], _LOOK_EVERY_SECONDS)
        for number, process in list(self._running.items()):
            if process.exitcode is None:
                continue
            assert process.exitcode in (0, KILLED), f"process {number} ended with {process.exitcode}"
            del self._running[number]
            if process.exitcode == KILLED:
                self.killed += 1
                self._running[number] = self._start(number, self.killed)
        return bool(self._running)

    def stop(self) -> None:
        for process in self._running.values():
            process.kill()
            process.join()

    def _start(self, number: int, again: int) -> ForkServerProcess:
        process = self._context.Process(target=loading.run, args=(self._load, number, again), daemon=True)
        process.start()
        return process


def deadlocks(owner: sa.Engine) -> int:
    with owner.connect() as connection:
        statement = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        return int(connection.execute(sa.text(statement)).scalar_one())


def count(owner: sa.Engine, what: str) -> int:
    with owner.connect() as connection:
        return int(connection.execute(sa.text(f"SELECT count(*) FROM {what}")).scalar_one())


def lines(directory: Path, files: str) -> list[str]:
    """What the processes wrote down."""
    return [line for path in sorted(directory.glob(files)) for line in path.read_text().splitlines()]


def findings(directory: Path) -> list[str]:
    """What the processes found wrong themselves: deadlocks, errors, answers that changed."""
    return lines(directory, "findings-*")


def answered(directory: Path) -> set[str]:
    """Every answer to every event, by whichever process: the function, the event's source and id, a digest."""
    return set(lines(directory, "answers-*"))


def stored_answers(owner: sa.Engine) -> set[str]:
    """The one answer to each event that is kept."""
    digest = "encode(sha256(coalesce(reply_body, '')), 'hex')"
    statement = f"SELECT concat_ws(' ', consumer, source, event_id, {digest}) FROM inbox WHERE handled_at IS NOT NULL"
    with owner.connect() as connection:
        return set(connection.execute(sa.text(statement)).scalars())


def spent_before(deliver: Deliver, owner: sa.Engine) -> Decimal:
    """Lets a workload of the team epsilon run for hours and go; what it has cost this month."""
    execution = deployment_execution.build(lambda _: TaskDone(None))
    region = {"matchLabels": {"region": REGIONS[0]}}
    deliver.decide("gone", team="epsilon", replicas=1, resources=ALIKE, clusters=region)
    with owner.begin() as connection:
        for table in ("reservations", "usage"):
            since = "greatest(now() - interval '10 hours', date_trunc('month', now(), 'UTC'))"
            connection.execute(sa.text(f"UPDATE {table} SET accrued_at = {since}"))
    removal = deliver(INTAKE, WITHDRAWN, withdrawal("gone", team="epsilon"), subject=None)
    deliver.forward(execution, deliver.forward(POLICY, removal))
    with owner.connect() as connection:
        return Decimal(connection.execute(sa.text("SELECT sum(usd) FROM workload_costs")).scalar_one())


def limits_reached(owner: sa.Engine) -> set[tuple[str, str]]:
    """The fields that plans were refused for, by policy."""
    statement = "SELECT DISTINCT v->>'policy', v->>'field' FROM policy_decisions, jsonb_array_elements(violations) AS v"
    with owner.connect() as connection:
        return {(row[0], row[1]) for row in connection.execute(sa.text(statement))}


@pytest.mark.slow
def test_eight_processes_that_crash_anywhere_never_oversell(
    store: Store, deliver: Deliver, owner_engine: sa.Engine, database_url: str, tmp_path: Path
) -> None:
    with store.begin() as work:
        for region in REGIONS:
            work.catalogue.register_cluster(Cluster(region, {"region": region}, None))
        work.catalogue.register_cluster(Cluster(CAPPED, {"region": CAPPED}, {"L4": CAPACITY}))
    documents = policies(datetime.now(UTC), spent_before(deliver, owner_engine))
    with store.begin() as work:
        for document in documents + watching():
            work.policies.put(document, "tests")
    before = deadlocks(owner_engine)
    looks = 0
    with checked(owner_engine, documents, {CAPPED: CAPACITY}):
        processes = Processes(Load(database_url, tmp_path, PROCESSES, SEED, STEPS, CRASHES))
        try:
            while processes.alive():
                assert broken(owner_engine) == []
                assert findings(tmp_path) == []
                looks += 1
        finally:
            processes.stop()
        assert findings(tmp_path) == []
        assert broken(owner_engine) == []
        accounts = difference_of_accounts(owner_engine)
    with owner_engine.connect() as connection:
        assert audit.verify(connection) == []
    assert deadlocks(owner_engine) == before
    entries = count(owner_engine, "policy_decisions") + count(owner_engine, "deployments")
    assert accounts <= entries * _OF_DIVISION
    assert answered(tmp_path) <= stored_answers(owner_engine)
    assert lines(tmp_path, "races-*") != []
    assert looks > 0
    assert processes.killed > 0
    assert count(owner_engine, "policy_decisions WHERE approved") > 0
    assert {("", "gpus[L4]"), ("", "gpus")} & limits_reached(owner_engine)
    assert {policy for policy, _ in limits_reached(owner_engine)} >= {"workload", "team", "cluster", "delta", "epsilon"}


# Who waits for whom ---------------------------------------------------------------------------------------------------

Wanted = Callable[[int, str], bool]
"""Whether this is the statement: its number, from 1, and its text; "COMMIT" is the last."""


class Held:
    """Holds up a transaction before one of its statements, until it is let go."""

    def __init__(self, engine: sa.Engine) -> None:
        self._wanted: Wanted = lambda _number, _text: False
        self._numbers = itertools.count(1)
        self._reached, self._let_go = threading.Event(), threading.Event()
        sa.event.listen(engine, "before_cursor_execute", lambda _c, _cursor, text, *_: self._statement(text))
        sa.event.listen(engine, "commit", lambda _: self._statement("COMMIT"))

    @contextmanager
    def at(self, wanted: Wanted, work: Callable[[], HttpAnswer]) -> Iterator[bool]:
        """Within the block `work` hangs before the statement that is wanted; False when it came to an end without."""
        self._wanted, self._numbers = wanted, itertools.count(1)
        self._reached.clear()
        self._let_go.clear()
        with ThreadPoolExecutor(1) as thread:
            working = thread.submit(work)
            working.add_done_callback(lambda _: self._reached.set())
            assert self._reached.wait(60)
            try:
                yield not working.done()
            finally:
                self._let_go.set()
        assert told(working.result()).type == APPROVED

    def _statement(self, text: str) -> None:
        if self._wanted(next(self._numbers), text):
            self._reached.set()
            assert self._let_go.wait(60)


@pytest.fixture
def slow(postgres: EmbeddedPostgres, emptied: None) -> Iterator[tuple[Deliver, Held]]:
    """Deliveries whose transactions can be held up."""
    engine = connect(postgres.url)
    yield Deliver(Store(engine)), Held(engine)
    engine.dispose()


@pytest.fixture
def impatient(postgres: EmbeddedPostgres, emptied: None) -> Iterator[Deliver]:
    """Deliveries whose transactions wait for no lock."""
    engine = connect(postgres.url)
    sa.event.listen(engine, "connect", _wait_for_nobody)
    yield Deliver(Store(engine))
    engine.dispose()


def _wait_for_nobody(connection: Any, _record: object) -> None:
    connection.cursor().execute("SET lock_timeout = '1ms'")
    connection.commit()


def number_is(wanted: int) -> Wanted:
    return lambda number, _: number == wanted


def a_quota_for_each(store: Store, *teams: str) -> None:
    with store.begin() as work:
        for team in teams:
            rules = [
                {"type": "quota", "scope": "team", "gpus": 1000},
                {"type": "cost_ceiling", "scope": "workload", "usd_per_hour": "1000"},
                {"type": "rate_limit", "scope": "team", "actions": 1000, "window": "PT1H"},
            ]
            document = {"name": team, "selector": {"teams": [team]}, "rules": rules}
            work.policies.put(PolicyDocument.model_validate(document), "tests")


def other_shard(name: str, team: str, than: uuid.UUID) -> str:
    """A name like this whose workload is audited in another chain: chains are shared, and 16."""
    names = (f"{name}-{n}" for n in itertools.count())
    return next(n for n in names if audit.shard_of(str(id_of(n, team))) != audit.shard_of(str(than)))


@pytest.mark.slow
def test_a_decision_holds_up_no_team_that_shares_no_rule_at_any_of_its_statements(
    store: Store, deliver: Deliver, slow: tuple[Deliver, Held], impatient: Deliver
) -> None:
    a_quota_for_each(store, "alpha", "beta")
    slowly, held = slow
    for number in itertools.count(1):
        mine = f"mine-{number}"
        theirs = other_shard(f"theirs-{number}", "beta", id_of(mine, "alpha"))
        first, second = deliver.submit(mine, team="alpha"), deliver.submit(theirs, team="beta")
        with held.at(number_is(number), partial(slowly.forward, POLICY, first)) as hangs:
            assert told(impatient.forward(POLICY, second)).type == APPROVED
        if not hangs:
            break
    assert number > 15, "every statement was held up in its turn"


def test_a_decision_holds_up_whoever_shares_a_rule(
    store: Store, deliver: Deliver, slow: tuple[Deliver, Held], impatient: Deliver
) -> None:
    a_quota_for_each(store, "alpha", "beta")
    everything = {"name": "everything", "rules": [{"type": "quota", "scope": "global", "gpus": 1000}]}
    with store.begin() as work:
        work.policies.put(PolicyDocument.model_validate(everything), "tests")
    slowly, held = slow
    first, second = deliver.submit("mine", team="alpha"), deliver.submit("theirs", team="beta")
    with held.at(lambda _, text: "INTO policy_decisions" in text, partial(slowly.forward, POLICY, first)) as hangs:
        assert hangs
        answer = impatient.forward(POLICY, second)
        assert (answer.status, b"55P03" in answer.body) == (503, True)
    assert told(impatient.forward(POLICY, second)).type == APPROVED


def test_a_decision_that_waits_for_its_scopes_has_locked_no_plan_of_the_queue(
    store: Store, owner_engine: sa.Engine, deliver: Deliver, slow: tuple[Deliver, Held], impatient: Deliver
) -> None:
    """Whoever has the scopes counts the plans that it passes: they would wait for each other. A plan that was replaced
    is not counted.
    """
    with store.begin() as work:
        document = {"name": "few", "rules": [{"type": "quota", "scope": "team", "gpus": 5}]}
        work.policies.put(PolicyDocument.model_validate(document), "tests")
    slowly, held = slow
    assert told(deliver.decide("first", replicas=3)).type == APPROVED
    replaced = queued(deliver.decide("large", replicas=3, queue=True)).plan
    newer, small = deliver.submit("large", replicas=1, queue=True), deliver.submit("small", replicas=1)
    with held.at(lambda _, text: "pg_advisory_xact_lock(key)" in text, partial(slowly.forward, POLICY, newer)) as hangs:
        assert hangs
        with owner_engine.begin() as connection:
            lock = sa.text("SELECT status, overtaken FROM action_plans WHERE id = :id FOR UPDATE NOWAIT")
            assert connection.execute(lock, {"id": replaced}).one() == ("queued", 0)
        assert told(impatient.forward(POLICY, small)).type == APPROVED
    with owner_engine.connect() as connection:
        left = sa.text("SELECT status, overtaken FROM action_plans WHERE id = :id")
        assert connection.execute(left, {"id": replaced}).one() == ("superseded", 0)
