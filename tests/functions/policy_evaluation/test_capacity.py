"""Who waits for the GPUs of a cluster, and who may take them meanwhile: through the endpoint core, on PostgreSQL."""

from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from knative.local.runtime.postgres import EmbeddedPostgres
from shared.models.cluster import Cluster
from shared.models.lifecycle import Phase
from shared.operations import nodes
from shared.policy import recorded
from shared.policy.queue import MAX_OVERTAKES
from shared.policy.vocabulary import CountingScope, ScopeKind
from shared.store.database import connect
from shared.store.unit_of_work import Store
from tests.support.builders import POLICY, TESTS, Deliver, id_of, in_parallel, rows
from tests.support.queueing import (
    approved,
    cue,
    denied,
    free,
    names_in_queue,
    newest,
    overtake,
    policy,
    queued,
    runs,
    submit,
    workload,
)

HAS = 8
LOCKING = "pg_advisory_xact_lock("
NO_GPU = {"resources": {"cpu": "1", "memory": "1Gi"}}
EU = CountingScope(ScopeKind.CLUSTER, "local")


def has(store: Store, gpus: dict[str, int] | None) -> None:
    """Registers the cluster again."""
    with store.begin() as work:
        work.catalogue.register_cluster(Cluster("local", {"region": "eu"}, gpus))


@pytest.fixture
def small(store: Store) -> Store:
    """A store whose cluster has HAS L4s and four H100s; no policy counts anything."""
    has(store, {"L4": HAS, "H100": 4})
    return store


def any_gpu(sku: str | None = None) -> dict[str, Any]:
    return {"resources": {"cpu": "1", "memory": "1Gi", "gpu": {"count": 1, **({"sku": sku} if sku else {})}}}


def test_what_its_cluster_has_too_few_gpus_for_waits_and_goes_when_some_are_released(
    deliver: Deliver, small: Store
) -> None:
    approved(submit(deliver, "first", 6))
    said = queued(submit(deliver, "second", 3, team="ads"))
    assert said.waits_for == ("cluster/local gpus[L4]",)
    assert said.message == "cluster local would hold 9 L4 GPUs; it has 8"
    approved(submit(deliver, "third", 2, team="research"))
    assert cue(deliver) == []
    free(small, "first")
    assert cue(deliver) == [id_of("second", "ads")]
    assert names_in_queue(small) == []


def test_the_decision_keeps_what_the_cluster_had(deliver: Deliver, small: Store) -> None:
    approved(submit(deliver, "first", 6))
    queued(submit(deliver, "second", 3))
    approved(submit(deliver, "third", 1, queue=False, priority=1))
    with small.begin() as work:
        kept = {
            name: recorded.from_json(work.plans.decisions_on(id_of(name))[-1].facts) for name in ("second", "third")
        }
    second = kept["second"]
    assert (second.plan.queue, second.waits, second.facts.capacity) == (True, True, {"L4": HAS, "H100": 4})
    assert second.facts.usage[EU].by_sku["L4"].gpus == 6
    assert kept["third"].plan.queue is False


@pytest.mark.parametrize("gpus", [{"L4": HAS + 1}, None], ids=["more", "not known any more"])
def test_a_tick_finds_the_room_when_another_capacity_is_registered(
    deliver: Deliver, small: Store, gpus: dict[str, int] | None
) -> None:
    approved(submit(deliver, "first", 6))
    queued(submit(deliver, "second", 3))
    has(small, gpus)
    assert cue(deliver) == [id_of("second")]
    assert workload(small, "second").phase is Phase.APPROVED


def test_a_cue_has_reconsidered_what_fits_its_cluster_together(deliver: Deliver, small: Store) -> None:
    approved(submit(deliver, "first", HAS))
    for name, size in (("second", 5), ("third", 5), ("fourth", 2), ("fifth", 2)):
        queued(submit(deliver, name, size, team=name))
    free(small, "first")
    assert cue(deliver) == [id_of("second", "second"), id_of("fourth", "fourth")]


def test_gpus_of_an_excluded_node_are_no_room_until_it_is_readmitted(deliver: Deliver, small: Store) -> None:
    with small.begin() as work:
        work.nodes.keep("local", {"node-1": {"L4": 4}, "node-2": {"L4": 4}})
        nodes.exclude(work, "local", "node-1", "its fans rattle", TESTS)
    said = queued(submit(deliver, "first", 5))
    assert said.message == "cluster local would hold 5 L4 GPUs; it has 4"
    with small.begin() as work:
        nodes.clear(work, "local", "node-1", TESTS)
    assert cue(deliver) == [id_of("first")]


def test_what_does_not_queue_is_left_to_the_scheduler_of_the_cluster(deliver: Deliver, small: Store) -> None:
    approved(submit(deliver, "first", HAS))
    approved(submit(deliver, "second", 1, queue=False))


def test_where_the_capacity_is_not_known_everything_is(deliver: Deliver, store: Store) -> None:
    has(store, None)
    approved(submit(deliver, "first", 1000))


def test_what_waiting_does_not_mend_is_denied_though_capacity_refuses_too(deliver: Deliver, small: Store) -> None:
    policy(small, {"type": "cost_ceiling", "scope": "plan", "usd_per_hour": "0"})
    rules = [violation.rule for violation in denied(submit(deliver, "first", HAS + 1)).violations]
    assert rules == ["cost_ceiling", "capacity"]


def test_an_update_that_takes_no_more_goes_on_where_too_much_is_held(deliver: Deliver, small: Store) -> None:
    kind = {"type": "stateful"}  # its rollout has no surge
    approved(submit(deliver, "steady", 4, **kind))
    runs(small, "steady")
    approved(submit(deliver, "greedy", HAS, queue=False))
    approved(submit(deliver, "steady", 4, image="nginx:1.30", **kind))
    runs(small, "steady")
    queued(submit(deliver, "steady", 5, image="nginx:1.30", **kind))
    approved(submit(deliver, "steady", 3, image="nginx:1.30", **kind))


# Who competes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("queue", [True, False], ids=["queues", "does not queue"])
def test_who_takes_gpus_of_the_cluster_goes_past_only_so_often(deliver: Deliver, small: Store, *, queue: bool) -> None:
    approved(submit(deliver, "base", 3))
    large = queued(submit(deliver, "large", HAS)).plan
    for number in range(MAX_OVERTAKES):
        approved(submit(deliver, f"small-{number}", 1, team="ads", queue=queue))
        free(small, f"small-{number}", "ads")
    assert newest(small, "large").overtaken == MAX_OVERTAKES
    reason = (
        f"plan {large} was overtaken {MAX_OVERTAKES} times and goes first; "
        "this plan would take cluster/local gpus[L4], which it waits for"
    )
    answer = submit(deliver, "late", 1, team="ads", queue=queue)
    assert (queued(answer).message if queue else denied(answer).violations[0].message) == reason
    for name, fields in {"cores": NO_GPU, "other": any_gpu("H100"), "urgent": {"priority": 1}}.items():
        approved(submit(deliver, name, 1, team="ads", queue=queue, **fields))
    free(small, "urgent", "ads")
    assert cue(deliver) == []
    free(small, "base")
    assert cue(deliver) == [id_of("large")]


def test_a_plan_that_is_larger_than_its_cluster_waits_and_holds_up_nobody(deliver: Deliver, small: Store) -> None:
    said = queued(submit(deliver, "large", HAS + 1))
    assert said.waits_for == ("cluster/local capacity[L4]",)
    for number in range(MAX_OVERTAKES + 1):
        approved(submit(deliver, "small", HAS, queue=number % 2 == 0, image=f"nginx:1.{number}"))
        free(small, "small")
    assert newest(small, "large").overtaken == 0
    assert cue(deliver) == []
    has(small, {"L4": HAS + 1})
    assert cue(deliver) == [id_of("large")]


# At once --------------------------------------------------------------------------------------------------------------


def test_plans_that_queue_never_take_the_last_gpu_together(
    deliver: Deliver, small: Store, owner_engine: sa.Engine
) -> None:
    proposed = [
        deliver.submit(f"w-{n}", team=f"team-{n}", replicas=3, queue=True, **any_gpu("L4" if n % 2 else None))
        for n in range(8)
    ]
    in_parallel(*(partial(deliver.forward, POLICY, one) for one in proposed))
    assert sum(row["gpus"] for row in rows(owner_engine, "usage")) == 12
    assert len(names_in_queue(small)) == 4


def test_plans_at_once_do_not_go_past_more_often_than_that(deliver: Deliver, small: Store) -> None:
    approved(submit(deliver, "base", 1))
    large = queued(submit(deliver, "large", HAS)).plan
    overtake(small, large, MAX_OVERTAKES - 2)
    proposed = [deliver.submit(f"w-{n}", team=f"team-{n}", replicas=1) for n in range(6)]
    answers = in_parallel(*(partial(deliver.forward, POLICY, one) for one in proposed))
    assert sorted(answer.headers["ce-type"].split(".")[3] for answer in answers) == ["approved"] * 2 + ["denied"] * 4
    assert newest(small, "large").overtaken == MAX_OVERTAKES


def locks(postgres: EmbeddedPostgres, deliver: Deliver, name: str, **fields: Any) -> bool:
    """Whether a decision that approves locks any scope."""
    proposed = deliver.submit(name, replicas=1, **fields)
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    engine = connect(postgres.url)
    sa.event.listen(engine, "before_cursor_execute", note)
    approved(Deliver(Store(engine)).forward(POLICY, proposed))
    engine.dispose()
    return any(LOCKING in statement for statement in statements)


def test_a_cluster_is_locked_only_by_who_queues_or_finds_somebody_waiting_there(
    deliver: Deliver, small: Store, postgres: EmbeddedPostgres
) -> None:
    assert not locks(postgres, deliver, "free")
    assert not locks(postgres, deliver, "cores", queue=True, **NO_GPU)
    assert locks(postgres, deliver, "queues", queue=True)
    queued(submit(deliver, "large", HAS))
    assert locks(postgres, deliver, "free-too")
    assert not locks(postgres, deliver, "cores-too", **NO_GPU)
    with small.begin() as work:
        work.catalogue.register_cluster(Cluster("east", {"region": "us"}, {"L4": 1}))
    there = {"clusters": {"matchLabels": {"region": "us"}}}
    assert not locks(postgres, deliver, "elsewhere", **there)
    has(small, None)
    assert not locks(postgres, deliver, "unknown", queue=True, clusters={"matchLabels": {"region": "eu"}})
