"""Who competes with a plan that waits: those who take more of what it waits for, and nobody else of its team."""

from typing import Any

import pytest
import sqlalchemy as sa

from events.plan import PlanReconsidered
from shared.models.plan import ActionPlan
from shared.policy.queue import MAX_OVERTAKES
from shared.policy.resources import keys_of
from shared.store.tables import action_plans
from shared.store.unit_of_work import Store
from tests.support.builders import POLICY, Deliver, connection_of, id_of, rows
from tests.support.queueing import (
    RECONSIDERED,
    approved,
    cue,
    denied,
    free,
    newest,
    overtake,
    plan,
    policy,
    queued,
    runs,
    submit,
)

H100S = 4


def on(sku: str | None = None, **gpu: object) -> dict[str, Any]:
    """The resources of a replica with one core and one GPU."""
    given = {"count": 1, **({"sku": sku} if sku else {}), **gpu}
    return {"resources": {"cpu": "1", "memory": "1Gi", "gpu": given}}


NO_GPU = {"resources": {"cpu": "1", "memory": "1Gi"}}
COMPETE = {"H100": on("H100"), "a slice of an H100": on("H100", mig="1g.10gb"), "any GPU": on()}
DO_NOT = {"no GPU": NO_GPU, "L4": on("L4"), "a slice of an A100": on("A100-80GB", mig="1g.10gb")}


@pytest.fixture
def few(store: Store) -> Store:
    """A store in which each team may hold H100S H100s; `large` waits for all of them, of which `base` holds two."""
    policy(store, {"type": "quota", "gpus_by_sku": {"H100": H100S}})
    deliver = Deliver(store)
    approved(submit(deliver, "base", 2, **on("H100")))
    assert queued(submit(deliver, "large", H100S, **on("H100"))).waits_for == ("team/search gpus[H100]",)
    return store


def starve(store: Store) -> ActionPlan:
    overtake(store, newest(store, "large").id, MAX_OVERTAKES)
    return newest(store, "large")


def rewrite(store: Store, name: str, *waits_for: str) -> None:
    with store.begin() as work:
        mine = action_plans.c.id == newest(store, name).id
        connection_of(work).execute(
            action_plans.update().where(mine).values(waits_for=list(waits_for), wait_keys=keys_of(waits_for))
        )


@pytest.mark.parametrize("queue", [True, False], ids=["queues", "does not queue"])
@pytest.mark.parametrize("fields", DO_NOT.values(), ids=DO_NOT)
def test_who_takes_nothing_that_a_starved_plan_waits_for_is_not_held_back(
    deliver: Deliver, few: Store, fields: dict[str, Any], *, queue: bool
) -> None:
    starve(few)
    approved(submit(deliver, "other", 3, queue=queue, **fields))


@pytest.mark.parametrize("fields", DO_NOT.values(), ids=DO_NOT)
def test_nor_counted_as_going_past(deliver: Deliver, few: Store, fields: dict[str, Any]) -> None:
    approved(submit(deliver, "other", 3, **fields))
    assert newest(few, "large").overtaken == 0


@pytest.mark.parametrize("fields", COMPETE.values(), ids=COMPETE)
def test_who_takes_some_of_it_is_counted_and_then_held_back_or_denied_with_the_reason(
    deliver: Deliver, few: Store, fields: dict[str, Any]
) -> None:
    approved(submit(deliver, "early", 1, **fields))
    assert newest(few, "large").overtaken == 1
    free(few, "early")
    overtake(few, newest(few, "large").id, MAX_OVERTAKES - 1)
    reason = (
        f"plan {newest(few, 'large').id} was overtaken 8 times and goes first; "
        "this plan would take team/search gpus[H100], which it waits for"
    )
    [violation] = denied(submit(deliver, "hasty", 1, queue=False, **fields)).violations
    assert (violation.rule, violation.message) == ("queue", reason)
    late = queued(submit(deliver, "late", 1, **fields))
    assert (late.waits_for, late.message) == (("team/search gpus[H100]",), reason)
    assert cue(deliver) == []
    free(few, "base")
    assert cue(deliver) == [id_of("large")]


def test_an_update_competes_only_for_what_it_adds(deliver: Deliver, few: Store) -> None:
    kind = {"type": "stateful"}  # its rollout has no surge
    approved(submit(deliver, "steady", 1, **kind, **on("H100")))
    runs(few, "steady")
    starve(few)
    more_cpu = {"resources": {**on("H100")["resources"], "cpu": "9"}}
    approved(submit(deliver, "steady", 1, **kind, **more_cpu))
    queued(submit(deliver, "steady", 2, **kind, **more_cpu))


def test_a_cue_finds_what_does_not_compete_behind_a_starved_plan(deliver: Deliver, few: Store) -> None:
    policy(few, {"type": "quota", "cpu": "6"}, name="cpu")
    approved(submit(deliver, "batch", 4, **NO_GPU))
    starve(few)
    assert queued(submit(deliver, "other", 3, **NO_GPU)).waits_for == ("team/search cpu",)
    held_back = queued(submit(deliver, "late", 1, **on("H100")))
    assert held_back.waits_for == ("team/search cpu",)
    free(few, "batch")
    assert cue(deliver) == [id_of("other")]


def test_a_cue_notes_what_a_plan_waits_for_now(deliver: Deliver, few: Store) -> None:
    policy(few, {"type": "quota", "cpu": "6"}, name="cpu")
    approved(submit(deliver, "batch", 4, **NO_GPU))
    free(few, "base")
    assert cue(deliver) == []
    large = newest(few, "large")
    assert (large.waits_for, large.overtaken) == (("team/search cpu",), 1)  # its CPU was taken by who did not compete
    assert large.reason == "team search would hold 8 CPU; its quota is 6"
    approved(submit(deliver, "gpus", 1, **on("H100")))
    assert cue(deliver) == []
    assert newest(few, "large").waits_for == ("team/search cpu", "team/search gpus[H100]")


def test_a_starved_plan_keeps_what_it_has_found(deliver: Deliver, few: Store) -> None:
    policy(few, {"type": "quota", "cpu": "6"}, name="cpu")
    starve(few)
    approved(submit(deliver, "batch", 4, **NO_GPU))
    free(few, "base")
    assert cue(deliver) == []
    large = newest(few, "large")
    both = ("team/search cpu", "team/search gpus[H100]")
    assert (large.waits_for, large.overtaken) == (both, MAX_OVERTAKES)
    queued(submit(deliver, "late", 1, **on("H100")))
    free(few, "batch")
    assert cue(deliver) == [id_of("large")]


def test_what_waits_for_the_same_is_not_written_again(deliver: Deliver, few: Store, owner_engine: sa.Engine) -> None:
    before = rows(owner_engine, "action_plans")
    assert cue(deliver) == []
    deliver(POLICY, RECONSIDERED, PlanReconsidered.of(newest(few, "large")))
    assert rows(owner_engine, "action_plans") == before


def test_a_decision_on_a_plan_that_waits_notes_it_too(deliver: Deliver, few: Store) -> None:
    policy(few, {"type": "quota", "replicas": 5}, name="replicas")
    deliver(POLICY, RECONSIDERED, PlanReconsidered.of(newest(few, "large")))
    assert newest(few, "large").waits_for == ("team/search gpus[H100]", "team/search replicas")


def test_a_plan_that_was_queued_by_an_older_version_waits_for_all_of_its_scope(deliver: Deliver, few: Store) -> None:
    starve(few)
    rewrite(few, "large", "team/search")
    [violation] = denied(submit(deliver, "other", 1, queue=False, **NO_GPU)).violations
    assert violation.rule == "queue"
    approved(submit(deliver, "elsewhere", 1, team="ads", **NO_GPU))
    free(few, "base")
    assert cue(deliver) == [id_of("large")]


def test_a_cue_finds_out_what_a_plan_of_an_older_version_waits_for(deliver: Deliver, few: Store) -> None:
    rewrite(few, "large", "team/search")
    assert cue(deliver) == []
    assert newest(few, "large").waits_for == ("team/search gpus[H100]",)


def test_a_note_on_a_plan_that_was_overtaken_or_left_meanwhile_is_dropped(few: Store) -> None:
    stale = newest(few, "large")
    overtake(few, stale.id)
    current = newest(few, "large")
    with few.begin() as work:
        work.queue.update_entry(stale, ["team/search cpu"], overtaken=5, reason="old")
    assert newest(few, "large") == current
    with few.begin() as work:
        work.plans.approve(current, work.now)
        work.queue.update_entry(current, ["team/search cpu"], overtaken=5, reason="old")
    assert plan(few, stale.id).waits_for == current.waits_for


def test_a_note_waits_for_nobody(few: Store) -> None:
    large = newest(few, "large")
    with few.begin() as one, few.begin() as other:
        connection_of(one).execute(action_plans.update().where(action_plans.c.id == large.id).values(overtaken=1))
        connection_of(other).execute(sa.text("SET LOCAL lock_timeout = '1s'"))
        other.queue.update_entry(large, ["team/search cpu"], overtaken=5, reason="old")
    assert (newest(few, "large").waits_for, newest(few, "large").overtaken) == (large.waits_for, 1)
