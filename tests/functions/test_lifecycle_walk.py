"""Random histories with the real handlers: PostgreSQL itself records every step of all three state machines.

The tables in shared.models.lifecycle are what the store checks; a trigger of this test sees what was really written.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from shared.models.lifecycle import (
    PHASES,
    PLAN_STATUSES,
    REVISION_STATUSES,
    SETTLED_PHASES,
    Phase,
    PlanStatus,
    RevisionStatus,
    StateMachine,
)
from shared.operations import clusters, lost_cluster
from shared.operations.lost_cluster import Fate
from tests.support.builders import TESTS
from tests.support.chain import Chain

pytestmark = pytest.mark.slow

_RECORD = """
CREATE TABLE IF NOT EXISTS lifecycle_steps (machine text, id uuid, before text, after text);
CREATE OR REPLACE FUNCTION lifecycle_step() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO lifecycle_steps
    VALUES (TG_ARGV[0], NEW.id, to_jsonb(OLD) ->> TG_ARGV[1], to_jsonb(NEW) ->> TG_ARGV[1]);
    RETURN NEW;
END
$$;
CREATE TRIGGER lifecycle_step AFTER UPDATE ON workloads
    FOR EACH ROW EXECUTE FUNCTION lifecycle_step('workload', 'phase');
CREATE TRIGGER lifecycle_step AFTER UPDATE ON action_plans
    FOR EACH ROW EXECUTE FUNCTION lifecycle_step('plan', 'status');
CREATE TRIGGER lifecycle_step AFTER UPDATE ON deployments
    FOR EACH ROW EXECUTE FUNCTION lifecycle_step('revision', 'status')
"""
_FORGET = """
DROP TRIGGER lifecycle_step ON workloads;
DROP TRIGGER lifecycle_step ON action_plans;
DROP TRIGGER lifecycle_step ON deployments;
DROP FUNCTION lifecycle_step;
DROP TABLE lifecycle_steps
"""
MACHINES: dict[str, tuple[StateMachine[Any], type[Any]]] = {
    "workload": (PHASES, Phase),
    "plan": (PLAN_STATUSES, PlanStatus),
    "revision": (REVISION_STATUSES, RevisionStatus),
}
NAME = "web"
SEEDS = 6
STEPS = 9


@pytest.fixture
def recorder(owner_engine: sa.Engine) -> Iterator[sa.Engine]:
    """Every update of a state is recorded until the test ends."""
    with owner_engine.begin() as connection:
        connection.exec_driver_sql(_RECORD)
    yield owner_engine
    with owner_engine.begin() as connection:
        connection.exec_driver_sql(_FORGET)


def steps(engine: sa.Engine) -> set[tuple[str, str, str]]:
    with engine.begin() as connection:
        found = connection.execute(sa.text("SELECT DISTINCT machine, before, after FROM lifecycle_steps"))
        return {(row.machine, row.before, row.after) for row in found}


def delete_object(chain: Chain) -> None:
    """Somebody else deletes what runs."""
    for item in chain.site.objects("Deployment"):
        chain.site.someone.delete(chain.site.path("Deployment", item["metadata"]["name"]))


def delayed_approval(chain: Chain, **fields: Any) -> None:
    """A plan is approved, and its event comes when a newer plan is on its way."""
    answer = chain.until_approved(NAME, **fields)
    chain.submit(NAME, replicas=2)
    if answer.headers.get("ce-type", "").endswith("plan.approved.v1"):
        chain.follow(answer)


def delayed_execution(chain: Chain) -> None:
    """An execution hangs past its lease, and a newer submission comes meanwhile."""
    answer = chain.until_approved(NAME, image="fate.test/ready:slow")
    if not answer.headers.get("ce-type", "").endswith("plan.approved.v1"):
        return
    with chain.held_up(answer):
        chain.pass_plan_time(60)
        chain.submit(NAME, image="fate.test/ready:newer")
        chain.tick()


def come_back(chain: Chain) -> None:
    """It answers again, and the next tick looks whether it does."""
    chain.site.come_back()
    chain.pass_plan_time(10)
    chain.tick()


def lose_and_regain(chain: Chain) -> None:
    """An operator declares the cluster lost, which is back later with all that it had."""
    with chain.store.begin() as work:
        lost_cluster.declare_lost(work, "local", Fate.FAIL, TESTS)
    with chain.store.begin() as work:
        lost_cluster.end_page(work, "local", Fate.FAIL, clusters.FIRST_ID, {}, TESTS)
    with chain.store.begin() as work:
        clusters.uncordon(work, "local", TESTS)


ACTIONS: dict[str, Callable[[Chain], object]] = {
    "submit": lambda chain: chain.submit(NAME),
    "submit what never becomes ready": lambda chain: chain.submit(NAME, image="fate.test/never-ready"),
    "submit what crashes": lambda chain: chain.submit(NAME, image="fate.test/crash"),
    "scale up": lambda chain: chain.submit(NAME, replicas=3),
    "submit to the queue": lambda chain: chain.submit(NAME, replicas=4, queue=True),
    "withdraw": lambda chain: chain.withdraw(NAME),
    "forbid GPUs": lambda chain: chain.limit_gpus(0),
    "allow GPUs": lambda chain: chain.limit_gpus(100),
    "the cluster goes away": lambda chain: chain.site.go_away(),
    "the cluster comes back": come_back,
    "the cluster is lost": lose_and_regain,
    "somebody deletes the object": delete_object,
    "an approval comes late": delayed_approval,
    "an execution comes late": delayed_execution,
    "the deadline passes": lambda chain: chain.pass_time(1000),
    "holds and leases lapse": lambda chain: chain.pass_plan_time(1000),
    "tick": lambda chain: chain.tick(),
}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_step_that_handlers_take_is_in_its_table(chain: Chain, recorder: sa.Engine, seed: int) -> None:
    history = random.Random(seed).choices(sorted(ACTIONS), k=STEPS)
    chain.submit(NAME)
    for action in history:
        ACTIONS[action](chain)
    chain.site.come_back()
    chain.limit_gpus(100)
    chain.pass_time(1000)
    assert chain.settle(NAME).phase in SETTLED_PHASES, history
    for machine, before, after in steps(recorder):
        table, states = MACHINES[machine]
        step = f"{machine}: {before} -> {after} in {history}"
        assert states(before) is states(after) or states(after) in table.transitions[states(before)], step


def test_one_history_takes_most_of_the_steps(chain: Chain, recorder: sa.Engine) -> None:
    """So that the walk above is known to go through all three machines, and not around them."""
    for action in (
        *("submit", "scale up", "submit what never becomes ready", "the deadline passes", "tick", "tick"),
        *("the cluster goes away", "submit", "the cluster comes back", "tick", "somebody deletes the object", "tick"),
        *("an execution comes late", "tick", "an approval comes late", "forbid GPUs", "submit to the queue"),
        *("allow GPUs", "tick", "withdraw", "tick", "tick"),
    ):
        ACTIONS[action](chain)
    chain.settle(NAME)
    taken = steps(recorder)
    for step in (
        ("workload", "verifying", "healthy"),
        ("workload", "verifying", "unhealthy"),
        ("workload", "verifying", "rolled_back"),
        ("workload", "removing", "removed"),
        ("plan", "proposed", "approved"),
        ("plan", "applying", "executed"),
        ("plan", "applying", "waiting"),
        ("revision", "verifying", "healthy"),
        ("revision", "verifying", "unhealthy"),
        ("revision", "healthy", "superseded"),
        ("revision", "removing", "removed"),
    ):
        assert step in taken
