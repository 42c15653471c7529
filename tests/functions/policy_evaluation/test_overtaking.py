"""Small plans go past a large one that waits, but not for ever; who is held back, and who is not."""

import sqlalchemy as sa

from shared.models.lifecycle import Phase
from shared.policy.queue import MAX_OVERTAKES
from shared.store.unit_of_work import Store
from tests.support.builders import Deliver, id_of, rows
from tests.support.queueing import (
    ROOM,
    approved,
    cue,
    denied,
    free,
    newest,
    overtake,
    queued,
    runs,
    submit,
    workload,
)


def test_small_plans_go_past_a_large_one_only_so_often_and_then_it_goes_first(deliver: Deliver, limited: Store) -> None:
    approved(submit(deliver, "base", 3))
    queued(submit(deliver, "large", 6))
    for number in range(MAX_OVERTAKES):
        approved(submit(deliver, f"small-{number}", 1))
        free(limited, f"small-{number}")
    assert newest(limited, "large").overtaken == MAX_OVERTAKES
    held_back = queued(submit(deliver, "late", 1))
    assert held_back.waits_for == ("team/search gpus",)
    assert held_back.message == (
        f"plan {newest(limited, 'large').id} was overtaken {MAX_OVERTAKES} times and goes first; "
        "this plan would take team/search gpus, which it waits for"
    )
    assert cue(deliver) == []
    assert newest(limited, "large").overtaken == MAX_OVERTAKES
    free(limited, "base")
    assert cue(deliver) == [id_of("large"), id_of("late")]
    assert workload(limited, "large").phase is workload(limited, "late").phase is Phase.APPROVED


def test_who_does_not_wait_cannot_go_past_a_starved_plan_and_is_told_why(deliver: Deliver, limited: Store) -> None:
    starve(deliver, limited)
    [violation] = denied(submit(deliver, "hasty", 1, queue=False)).violations
    assert (violation.policy, violation.rule) == ("", "queue")
    assert violation.message.startswith(f"plan {newest(limited, 'large').id} was overtaken")


def test_a_starved_plan_holds_up_neither_other_scopes_nor_higher_priority(deliver: Deliver, limited: Store) -> None:
    starve(deliver, limited)
    approved(submit(deliver, "elsewhere", 1, team="ads"))
    approved(submit(deliver, "urgent", 1, priority=1))


def test_a_starved_plan_holds_up_nobody_who_takes_no_more_than_before(deliver: Deliver, limited: Store) -> None:
    kind = {"type": "stateful"}  # its rollout has no surge
    approved(submit(deliver, "steady", 1, **kind))
    runs(limited, "steady")
    starve(deliver, limited)
    approved(submit(deliver, "steady", 1, image="nginx:1.30", **kind))
    assert newest(limited, "large").overtaken == MAX_OVERTAKES


def test_a_plan_that_is_held_back_is_not_decided_at_every_tick(
    deliver: Deliver, limited: Store, owner_engine: sa.Engine
) -> None:
    starve(deliver, limited)
    queued(submit(deliver, "late", 1))
    before = len(rows(owner_engine, "policy_decisions"))
    for _ in range(3):
        assert cue(deliver) == []
    assert len(rows(owner_engine, "policy_decisions")) == before


def starve(deliver: Deliver, store: Store) -> None:
    """`large` waits for 8 GPUs of its team, of which `base` holds 3, and may not be overtaken again."""
    approved(submit(deliver, "base", 3))
    waiting = queued(submit(deliver, "large", ROOM))
    overtake(store, waiting.plan, MAX_OVERTAKES)
