"""Waiting instead of refusal, through the endpoint core, on PostgreSQL: who waits, for what, and who goes next."""

from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from events.plan import PlanReconsidered
from knative.local.runtime.postgres import EmbeddedPostgres
from shared.eventing.processing import HttpAnswer
from shared.models.lifecycle import Phase, PlanStatus
from shared.operations.queue import PAGE
from shared.store import audit
from shared.store.database import connect
from shared.store.unit_of_work import Store
from tests.support.builders import POLICY, PROPOSED, Deliver, id_of, in_parallel, rows, told
from tests.support.queueing import (
    CHANGED,
    CONTINUED,
    CUES,
    RECONSIDERED,
    RELEASED,
    ROOM,
    SUCCEEDING,
    TICK,
    approved,
    cue,
    denied,
    free,
    gpus,
    names_in_queue,
    newest,
    plan,
    policy,
    queued,
    reconsidered,
    runs,
    wish,
    workload,
)

# Who waits -----------------------------------------------------------------------------------------------------------


def test_a_plan_that_only_quota_refuses_waits_and_holds_nothing(
    deliver: Deliver, limited: Store, owner_engine: sa.Engine
) -> None:
    policy(limited, gpus(6, "cluster"), name="other")
    approved(wish(deliver, "first", 5))
    said = queued(wish(deliver, "second", 4, priority=3))
    assert said.waits_for == ("cluster/local gpus", "team/search gpus")
    assert said.message == (
        "team search would hold 9 GPUs; its quota is 8; cluster local would hold 9 GPUs; its quota is 6"
    )
    waiting = newest(limited, "second")
    assert (waiting.status, waiting.reason, waiting.priority) == (PlanStatus.QUEUED, said.message, 3)
    assert (waiting.waits_for, waiting.overtaken) == (said.waits_for, 0)
    known = workload(limited, "second")
    assert (known.phase, known.reason) == (Phase.QUEUED, said.message)
    assert {row["workload_id"] for row in rows(owner_engine, "reservations")} == {id_of("first")}
    with owner_engine.connect() as connection:
        entries = audit.entries(connection, str(id_of("second")))
    assert [entry.action for entry in entries] == ["plan.proposed", "plan.queued"]


@pytest.mark.parametrize(
    ("rule", "fields"),
    [
        ({"type": "cost_ceiling", "scope": "team", "usd_per_hour": "1"}, {}),
        ({"type": "cost_ceiling", "scope": "global", "usd_per_month": "0"}, {}),
        ({"type": "image", "forbidden_tags": ["latest"]}, {"image": "nginx:latest"}),
        ({"type": "security"}, {"security": {"privileged": True}}),
        ({"type": "quota", "scope": "plan", "gpus": 1}, {}),
        ({"type": "quota", "scope": "team", "replicas": 1}, {}),
    ],
    ids=["cost an hour", "cost a month", "image", "security", "quota of a plan", "too large for an empty scope"],
)
def test_what_no_release_can_mend_is_denied_though_quota_refuses_too(
    deliver: Deliver, limited: Store, rule: dict[str, Any], fields: dict[str, Any]
) -> None:
    approved(wish(deliver, "first", ROOM))
    policy(limited, rule, name="more")
    rules = {violation.rule for violation in denied(wish(deliver, "second", 2, **fields)).violations}
    assert rules == {"quota", rule["type"]}
    assert names_in_queue(limited) == []


def test_a_workload_that_does_not_ask_to_wait_is_denied(deliver: Deliver, limited: Store) -> None:
    approved(wish(deliver, "first", ROOM))
    denied(wish(deliver, "second", 1, queue=False))
    assert names_in_queue(limited) == []


def test_a_plan_that_waits_is_denied_when_more_than_quota_refuses_it_later(deliver: Deliver, limited: Store) -> None:
    approved(wish(deliver, "first", ROOM))
    waiting = queued(wish(deliver, "second", 2))
    policy(limited, {"type": "cost_ceiling", "scope": "plan", "usd_per_hour": "0"}, name="money")
    denied(deliver(POLICY, RECONSIDERED, PlanReconsidered.of(plan(limited, waiting.plan))))
    assert (names_in_queue(limited), workload(limited, "second").phase) == ([], Phase.DENIED)


# Its place -----------------------------------------------------------------------------------------------------------


def test_a_plan_keeps_its_place_over_decisions_and_tells_nothing_twice(deliver: Deliver, limited: Store) -> None:
    approved(wish(deliver, "first", ROOM))
    for name in ("second", "third"):
        queued(wish(deliver, name, 2))
    before = newest(limited, "second")
    for type_name in (RECONSIDERED, PROPOSED):
        again = deliver(POLICY, type_name, PlanReconsidered.of(before))
        assert (again.status, again.body) == (202, b"")
    assert newest(limited, "second") == before
    assert names_in_queue(limited) == ["second", "third"]


def test_priority_comes_first_and_then_time(deliver: Deliver, limited: Store) -> None:
    approved(wish(deliver, "first", ROOM))
    for name, priority in (("low", 0), ("high", 7), ("low-too", 0), ("high-too", 7)):
        queued(wish(deliver, name, ROOM, priority=priority))
    assert names_in_queue(limited) == ["high", "high-too", "low", "low-too"]
    free(limited, "first")
    assert cue(deliver) == [id_of("high")]
    assert workload(limited, "high").phase is Phase.APPROVED
    assert cue(deliver) == []


def test_a_withdrawn_workload_leaves_the_queue(deliver: Deliver, limited: Store) -> None:
    approved(wish(deliver, "first", ROOM))
    waiting = queued(wish(deliver, "second", 2))
    approved(deliver.forward(POLICY, deliver.withdraw("second")))
    assert names_in_queue(limited) == []
    free(limited, "first")
    assert cue(deliver) == []
    assert plan(limited, waiting.plan).status is PlanStatus.SUPERSEDED
    with limited.begin() as work:
        assert not work.plans.anything_queued()


def test_a_new_wish_gives_up_the_place_of_the_old_one(deliver: Deliver, limited: Store) -> None:
    approved(wish(deliver, "first", ROOM))
    old = queued(wish(deliver, "second", 2))
    queued(wish(deliver, "third", 2))
    queued(wish(deliver, "second", 3))
    assert names_in_queue(limited) == ["third", "second"]
    assert denied(deliver(POLICY, RECONSIDERED, PlanReconsidered.of(plan(limited, old.plan)))).violations[0].rule == (
        "superseded"
    )
    free(limited, "first")
    assert cue(deliver) == [id_of("third"), id_of("second")]


# Decided again -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type_name", CUES)
def test_a_cue_has_reconsidered_what_would_fit_together(deliver: Deliver, limited: Store, type_name: str) -> None:
    approved(wish(deliver, "first", ROOM))
    for name, size in (("second", 5), ("third", 5), ("fourth", 2), ("fifth", 2)):
        queued(wish(deliver, name, size))
    assert cue(deliver, type_name) == []
    free(limited, "first")
    assert cue(deliver, type_name) == [id_of("second"), id_of("fourth")]
    assert names_in_queue(limited) == ["third", "fifth"]
    assert workload(limited, "second").phase is workload(limited, "fourth").phase is Phase.APPROVED


def test_a_policy_that_makes_room_lets_the_queue_go_on(deliver: Deliver, limited: Store) -> None:
    approved(wish(deliver, "first", ROOM))
    queued(wish(deliver, "second", 2))
    policy(limited, gpus(ROOM + 2))
    assert cue(deliver, CHANGED) == [id_of("second")]


def test_a_cue_ends_the_wait_for_what_no_release_can_mend_any_more(deliver: Deliver, limited: Store) -> None:
    approved(wish(deliver, "first", ROOM))
    queued(wish(deliver, "second", 2))
    queued(wish(deliver, "third", 5))
    policy(limited, gpus(4, "plan"), name="small-plans")
    assert cue(deliver, CHANGED) == [id_of("third")]
    assert workload(limited, "third").phase is Phase.DENIED
    assert names_in_queue(limited) == ["second"]


def test_a_removal_that_verification_sees_done_lets_the_queue_go_on(deliver: Deliver, limited: Store) -> None:
    approved(wish(deliver, "first", ROOM))
    runs(limited, "first")
    queued(wish(deliver, "second", 2))
    removal = deliver.forward(POLICY, deliver.withdraw("first"))
    assert deliver.forward(SUCCEEDING.verification, deliver.forward(SUCCEEDING.execution, removal)).status == 200
    answer = deliver(POLICY, RELEASED, {"workload": str(id_of("first"))})
    assert told(answer).type == RECONSIDERED
    assert approved(deliver.forward(POLICY, answer)) == newest(limited, "second").id


def test_verification_says_so_when_it_releases_something(deliver: Deliver, limited: Store) -> None:
    approved(wish(deliver, "first", ROOM))
    runs(limited, "first")
    queued(wish(deliver, "second", 2))
    removal = deliver.forward(POLICY, deliver.withdraw("first"))
    seen = deliver.forward(SUCCEEDING.verification, deliver.forward(SUCCEEDING.execution, removal))
    assert told(seen).type == RELEASED
    again = deliver.forward(POLICY, seen)
    assert approved(deliver.forward(POLICY, again)) == newest(limited, "second").id


def test_a_tick_finds_nothing_to_do_in_an_empty_queue(deliver: Deliver, limited: Store) -> None:
    approved(wish(deliver, "first", 1))
    assert deliver(POLICY, TICK, {}).status == 202


def test_cues_at_once_approve_nothing_twice(deliver: Deliver, limited: Store, owner_engine: sa.Engine) -> None:
    approved(wish(deliver, "first", ROOM))
    for number in range(6):
        queued(wish(deliver, f"w-{number}", 3))
    free(limited, "first")
    answers = in_parallel(*(partial(deliver, POLICY, TICK, {}) for _ in range(4)))
    events = [event for answer in answers for event in reconsidered(limited, answer)]
    assert len(events) >= 4
    in_parallel(*(partial(deliver, POLICY, RECONSIDERED, event.data) for event in events))
    phases = [workload(limited, f"w-{number}").phase for number in range(6)]
    assert phases.count(Phase.APPROVED) == 2
    assert sum(row["gpus"] for row in rows(owner_engine, "usage")) == 6
    assert [row["approved"] for row in rows(owner_engine, "policy_decisions")].count(True) == 3


# A page at a time ----------------------------------------------------------------------------------------------------


def more_than_a_page(deliver: Deliver, store: Store) -> list[str]:
    """Plans that wait for the GPUs of one team, more than a page, and behind them `late`, of a team with room."""
    approved(wish(deliver, "first", ROOM))
    names = [f"w-{number}" for number in range(PAGE + 2)]
    for name in names:
        queued(wish(deliver, name, 1))
    other = {"resources": {"cpu": "4", "memory": "8Gi", "gpu": {"count": 1, "sku": "H100"}}}
    approved(wish(deliver, "ads", ROOM, team="ads", **other))
    assert queued(wish(deliver, "late", 1, team="ads", **other)).waits_for == ("team/ads gpus",)
    policy(store, gpus(ROOM + 1), name="more", selector={"teams": ["ads"]})
    policy(store, gpus(ROOM), name="limit", selector={"teams": ["search"]})
    return names


def test_a_queue_that_is_longer_than_a_page_is_looked_through_to_its_end(deliver: Deliver, limited: Store) -> None:
    names = more_than_a_page(deliver, limited)
    first = deliver(POLICY, TICK, {})
    assert told(first).type == CONTINUED
    last = names[PAGE - 1]
    assert told(first).data == {"after": str(newest(limited, last).id)}
    deliver.withdraw(last)  # the continuation goes on behind its place all the same
    second = deliver.forward(POLICY, first)
    assert (told(second).type, told(second).subject) == (RECONSIDERED, str(id_of("late", "ads")))
    approved(deliver.forward(POLICY, second))


def test_one_cue_delivered_twice_at_once_decides_a_queued_plan_once(
    deliver: Deliver, limited: Store, postgres: EmbeddedPostgres, owner_engine: sa.Engine
) -> None:
    approved(wish(deliver, "first", 5))
    queued(wish(deliver, "second", 4))
    again: dict[str, Any] = {"data": PlanReconsidered.of(newest(limited, "second")), "event_id": "again"}
    faster: list[HttpAnswer] = []

    def overtake(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FOR UPDATE" in statement and not faster:
            faster.append(deliver(POLICY, RECONSIDERED, **again))

    engine = connect(postgres.url)
    sa.event.listen(engine, "before_cursor_execute", overtake)
    slower = Deliver(Store(engine))(POLICY, RECONSIDERED, **again)
    engine.dispose()
    assert [faster[0].status, slower.status] == [202, 409]
    assert newest(limited, "second").status is PlanStatus.QUEUED
    assert len([row for row in rows(owner_engine, "policy_decisions") if row["workload_id"] == id_of("second")]) == 2
