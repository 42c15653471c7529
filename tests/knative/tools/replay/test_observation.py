"""Reading the store during and after a replay, on real PostgreSQL."""

import uuid
from datetime import timedelta

import sqlalchemy as sa

from knative.local.tools.replay.observation import StoreTotals, WorkloadWatcher, store_totals
from shared.models.dead_letter import DeadLetter
from shared.models.lifecycle import Phase
from shared.store.tables import policy_decisions, workloads
from shared.store.unit_of_work import Store
from tests.support.builders import connection_of


def put(store: Store, name: str, phase: Phase, *, ago: float = 0.0) -> uuid.UUID:
    """A workload that became so `ago` seconds ago."""
    workload = uuid.uuid4()
    with store.begin() as work:
        connection_of(work).execute(
            workloads.insert().values(
                id=workload,
                team="t",
                namespace="n",
                name=name,
                generation=1,
                spec={},
                usd_per_replica_hour=0,
                phase=phase,
                reason="because",
                cluster="local",
                plan_id=workload,
                updated_at=work.now - timedelta(seconds=ago),
            )
        )
    return workload


def test_tells_what_has_changed_and_when(engine: sa.Engine, store: Store) -> None:
    watcher = WorkloadWatcher(engine)
    assert watcher.changed() == []
    old = put(store, "old", Phase.HEALTHY, ago=60)
    new = put(store, "new", Phase.FAILED)
    assert [seen.workload for seen in watcher.changed()] == [old, new]
    [seen] = watcher.changed()
    assert (seen.workload, seen.phase, seen.reason) == (new, Phase.FAILED, "because")
    with engine.connect() as connection:
        now = connection.execute(sa.select(sa.func.extract("epoch", sa.func.now()))).scalar_one()
    assert 0 <= float(now) - seen.at < 60


def test_a_row_of_a_transaction_that_began_long_ago_is_found_by_the_next_sweep(engine: sa.Engine, store: Store) -> None:
    """`updated_at` is when the transaction began: such a row turns up behind the newest one."""
    clock = [0.0]
    watcher = WorkloadWatcher(engine, clock=lambda: clock[0])
    new = put(store, "new", Phase.HEALTHY)
    watcher.changed()
    late = put(store, "late", Phase.HEALTHY, ago=30)
    assert [seen.workload for seen in watcher.changed()] == [new]
    clock[0] = 11.0
    assert [seen.workload for seen in watcher.changed()] == [late, new]


def test_the_books_count_denials_by_rule_and_dead_letters_by_reason(engine: sa.Engine, store: Store) -> None:
    assert store_totals(engine) == StoreTotals({}, 0, 0, 0, {})
    with store.begin() as work:
        for number in range(3):
            rule = "quota" if number else "cost_ceiling"
            connection_of(work).execute(
                policy_decisions.insert().values(
                    id=uuid.uuid4(),
                    plan_id=uuid.uuid4(),
                    workload_id=uuid.uuid4(),
                    approved=False,
                    violations=[{"policy": "p", "rule": rule}],
                    warnings=[],
                    determining=[],
                    facts={},
                    duration_us=1,
                )
            )
        work.dead_letters.keep(DeadLetter("http://x/", "/s", "1", "some.type", None, {}, b"", 422, "no such plan"))
    found = store_totals(engine)
    assert found.denials == {"quota of policy p": 2, "cost_ceiling of policy p": 1}
    assert found.dead_letters == {"some.type: no such plan": 1}
