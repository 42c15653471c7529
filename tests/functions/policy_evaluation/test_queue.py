"""Waiting instead of refusal, through the endpoint core, on PostgreSQL: who waits, for what, and who goes next."""

from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from events import CATALOGUE
from events.plan import PlanDenied, PlanReconsidered
from functions.policy_evaluation import handler
from knative.local.runtime.postgres import EmbeddedPostgres
from shared.eventing.processing import HttpAnswer
from shared.models.cluster import Cluster
from shared.models.lifecycle import Phase, PlanStatus
from shared.models.reservation import Reservation
from shared.operations import queue
from shared.operations.queue import PAGE
from shared.operations.reservations import release
from shared.policy.queue import MAX_OVERTAKES
from shared.store import audit
from shared.store.database import connect
from shared.store.tables import queue_cursor
from shared.store.unit_of_work import Store
from tests.support.builders import POLICY, PROPOSED, Deliver, connection_of, id_of, in_parallel, rows, told
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
    left_in_outbox,
    names_in_queue,
    newest,
    overtake,
    plan,
    policy,
    queued,
    reconsidered,
    runs,
    submit,
    workload,
)

# Who waits -----------------------------------------------------------------------------------------------------------


def test_a_plan_that_only_quota_refuses_waits_and_holds_nothing(
    deliver: Deliver, limited: Store, owner_engine: sa.Engine
) -> None:
    policy(limited, gpus(6, "cluster"), name="other")
    approved(submit(deliver, "first", 5))
    said = queued(submit(deliver, "second", 4, priority=3))
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
    approved(submit(deliver, "first", ROOM))
    policy(limited, rule, name="more")
    rules = {violation.rule for violation in denied(submit(deliver, "second", 2, **fields)).violations}
    assert rules == {"quota", rule["type"]}
    assert names_in_queue(limited) == []


def test_a_workload_that_does_not_ask_to_wait_is_denied(deliver: Deliver, limited: Store) -> None:
    approved(submit(deliver, "first", ROOM))
    denied(submit(deliver, "second", 1, queue=False))
    assert names_in_queue(limited) == []


def test_a_plan_that_waits_is_denied_when_more_than_quota_refuses_it_later(deliver: Deliver, limited: Store) -> None:
    approved(submit(deliver, "first", ROOM))
    waiting = queued(submit(deliver, "second", 2))
    policy(limited, {"type": "cost_ceiling", "scope": "plan", "usd_per_hour": "0"}, name="money")
    denied(deliver(POLICY, RECONSIDERED, PlanReconsidered.of(plan(limited, waiting.plan))))
    assert (names_in_queue(limited), workload(limited, "second").phase) == ([], Phase.DENIED)


# Its place -----------------------------------------------------------------------------------------------------------


def test_a_plan_keeps_its_place_over_decisions_and_tells_nothing_twice(deliver: Deliver, limited: Store) -> None:
    approved(submit(deliver, "first", ROOM))
    for name in ("second", "third"):
        queued(submit(deliver, name, 2))
    before = newest(limited, "second")
    for type_name in (RECONSIDERED, PROPOSED):
        again = deliver(POLICY, type_name, PlanReconsidered.of(before))
        assert (again.status, again.body) == (202, b"")
    assert newest(limited, "second") == before
    assert names_in_queue(limited) == ["second", "third"]


def test_priority_comes_first_and_then_time(deliver: Deliver, limited: Store) -> None:
    approved(submit(deliver, "first", ROOM))
    for name, priority in (("low", 0), ("high", 7), ("low-too", 0), ("high-too", 7)):
        queued(submit(deliver, name, ROOM, priority=priority))
    assert names_in_queue(limited) == ["high", "high-too", "low", "low-too"]
    free(limited, "first")
    assert cue(deliver) == [id_of("high")]
    assert workload(limited, "high").phase is Phase.APPROVED
    assert cue(deliver) == []


def test_a_withdrawn_workload_leaves_the_queue(deliver: Deliver, limited: Store) -> None:
    approved(submit(deliver, "first", ROOM))
    waiting = queued(submit(deliver, "second", 2))
    approved(deliver.forward(POLICY, deliver.withdraw("second")))
    assert names_in_queue(limited) == []
    free(limited, "first")
    assert cue(deliver) == []
    assert plan(limited, waiting.plan).status is PlanStatus.SUPERSEDED
    with limited.begin() as work:
        assert not work.queue.anyone()


def test_a_new_submission_gives_up_the_place_of_the_old_one(deliver: Deliver, limited: Store) -> None:
    approved(submit(deliver, "first", ROOM))
    old = queued(submit(deliver, "second", 2))
    queued(submit(deliver, "third", 2))
    queued(submit(deliver, "second", 3))
    assert names_in_queue(limited) == ["third", "second"]
    assert plan(limited, old.plan).status is PlanStatus.SUPERSEDED
    assert [event.subject for event in left_in_outbox(limited, CATALOGUE.name_of(PlanDenied))] == [str(id_of("second"))]
    free(limited, "first")
    assert cue(deliver) == [id_of("third"), id_of("second")]


# Decided again -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type_name", CUES)
def test_a_cue_has_reconsidered_what_would_fit_together(deliver: Deliver, limited: Store, type_name: str) -> None:
    approved(submit(deliver, "first", ROOM))
    for name, size in (("second", 5), ("third", 5), ("fourth", 2), ("fifth", 2)):
        queued(submit(deliver, name, size))
    assert cue(deliver, type_name) == []
    free(limited, "first")
    assert cue(deliver, type_name) == [id_of("second"), id_of("fourth")]
    assert names_in_queue(limited) == ["third", "fifth"]
    assert workload(limited, "second").phase is workload(limited, "fourth").phase is Phase.APPROVED


def test_a_policy_that_makes_room_lets_the_queue_go_on(deliver: Deliver, limited: Store) -> None:
    approved(submit(deliver, "first", ROOM))
    queued(submit(deliver, "second", 2))
    policy(limited, gpus(ROOM + 2))
    assert cue(deliver, CHANGED) == [id_of("second")]


def test_a_cue_ends_the_wait_for_what_no_release_can_mend_any_more(deliver: Deliver, limited: Store) -> None:
    approved(submit(deliver, "first", ROOM))
    queued(submit(deliver, "second", 2))
    queued(submit(deliver, "third", 5))
    policy(limited, gpus(4, "plan"), name="small-plans")
    assert cue(deliver, CHANGED) == [id_of("third")]
    assert workload(limited, "third").phase is Phase.DENIED
    assert names_in_queue(limited) == ["second"]


def test_a_removal_that_verification_sees_done_lets_the_queue_go_on(deliver: Deliver, limited: Store) -> None:
    approved(submit(deliver, "first", ROOM))
    runs(limited, "first")
    queued(submit(deliver, "second", 2))
    removal = deliver.forward(POLICY, deliver.withdraw("first"))
    assert deliver.forward(SUCCEEDING.verification, deliver.forward(SUCCEEDING.execution, removal)).status == 200
    answer = deliver(POLICY, RELEASED, {"workload": str(id_of("first"))})
    assert told(answer).type == RECONSIDERED
    assert approved(deliver.forward(POLICY, answer)) == newest(limited, "second").id


def test_verification_says_so_when_it_releases_something(deliver: Deliver, limited: Store) -> None:
    approved(submit(deliver, "first", ROOM))
    runs(limited, "first")
    queued(submit(deliver, "second", 2))
    removal = deliver.forward(POLICY, deliver.withdraw("first"))
    seen = deliver.forward(SUCCEEDING.verification, deliver.forward(SUCCEEDING.execution, removal))
    assert told(seen).type == RELEASED
    again = deliver.forward(POLICY, seen)
    assert approved(deliver.forward(POLICY, again)) == newest(limited, "second").id


def test_a_tick_finds_nothing_to_do_in_an_empty_queue(deliver: Deliver, limited: Store) -> None:
    approved(submit(deliver, "first", 1))
    assert deliver(POLICY, TICK, {}).status == 202


def test_cues_at_once_approve_nothing_twice(deliver: Deliver, limited: Store, owner_engine: sa.Engine) -> None:
    approved(submit(deliver, "first", ROOM))
    for number in range(6):
        queued(submit(deliver, f"w-{number}", 3))
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
    approved(submit(deliver, "first", ROOM))
    names = [f"w-{number}" for number in range(PAGE + 2)]
    for name in names:
        queued(submit(deliver, name, 1))
    other = {"resources": {"cpu": "4", "memory": "8Gi", "gpu": {"count": 1, "sku": "H100"}}}
    approved(submit(deliver, "ads", ROOM, team="ads", **other))
    assert queued(submit(deliver, "late", 1, team="ads", **other)).waits_for == ("team/ads gpus",)
    policy(store, gpus(ROOM + 1), name="more", selector={"teams": ["ads"]})
    policy(store, gpus(ROOM), name="limit", selector={"teams": ["search"]})
    return names


@pytest.mark.slow
def test_a_queue_that_is_longer_than_a_page_is_looked_through_to_its_end(deliver: Deliver, limited: Store) -> None:
    names = more_than_a_page(deliver, limited)
    first = deliver(POLICY, CHANGED, CUES[CHANGED])
    assert told(first).type == CONTINUED
    deliver.withdraw(names[PAGE - 1])  # the continuation goes on behind its place all the same
    second = deliver.forward(POLICY, first)
    assert (told(second).type, told(second).subject) == (RECONSIDERED, str(id_of("late", "ads")))
    approved(deliver.forward(POLICY, second))


def test_a_queue_may_be_longer_than_an_event_has_hops(
    deliver: Deliver, limited: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "PAGE", 1)
    monkeypatch.setattr(handler, "LAST_HOP", 2)
    approved(submit(deliver, "first", ROOM))
    for number, size in enumerate([8, 8, 7, 6]):
        queued(submit(deliver, f"w-{number}", size))
    policy(limited, gpus(ROOM + 6))
    answer = deliver(POLICY, CHANGED, CUES[CHANGED])
    while answer.status == 200 and told(answer).type == CONTINUED:
        answer = deliver.forward(POLICY, answer)
    assert answer.status == 202  # three plans have been looked at, and the fourth waits for the tick
    assert deliver(POLICY, TICK, {}).status == 202
    with limited.begin() as work:
        cut_off = queue_cursor.c.moved_at - queue.CONTINUED_WITHIN
        connection_of(work).execute(queue_cursor.update().values(moved_at=cut_off))
    assert cue(deliver) == [id_of("w-3")]
    with limited.begin() as work:
        assert not work.queue.cursor().wanted


def test_what_a_release_lets_go_may_be_further_back_than_an_event_has_hops(
    deliver: Deliver, limited: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "PAGE", 2)
    monkeypatch.setattr(queue, "FIRST", 1)
    monkeypatch.setattr(handler, "LAST_HOP", 1)
    approved(submit(deliver, "large", 5))
    approved(submit(deliver, "small", 3))
    for number, size in enumerate([8, 7, 6, 5, 3]):
        queued(submit(deliver, f"w-{number}", size))
    free(limited, "small")
    answer = deliver(POLICY, RELEASED, {**CUES[RELEASED], "released": {"team/search gpus": 3}})
    assert told(answer).data == {"after": str(newest(limited, "w-1").id), "released": {"team/search gpus": 3}}
    assert deliver.forward(POLICY, answer).status == 202
    assert cue(deliver) == [id_of("w-4")]


# Who is looked at ----------------------------------------------------------------------------------------------------


def test_a_release_has_only_those_looked_at_that_wait_for_it(deliver: Deliver, limited: Store) -> None:
    for team in ("search", "ads"):
        approved(submit(deliver, "first", ROOM, team=team))
        queued(submit(deliver, "second", 1, team=team))
        free(limited, "first", team)
    assert cue(deliver, RELEASED, **CUES[RELEASED], released={"team/ads gpus": ROOM}) == [id_of("second", "ads")]
    assert names_in_queue(limited) == ["second"]


def test_a_release_has_no_more_looked_at_than_it_lets_go(
    deliver: Deliver, limited: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "FIRST", 2)
    approved(submit(deliver, "first", ROOM))
    for name in ("second", "third", "fourth"):
        queued(submit(deliver, name, 2))
    free(limited, "first")
    assert cue(deliver, RELEASED, **CUES[RELEASED], released={"team/search gpus": 3}) == [
        id_of("second"),
        id_of("third"),
    ]


def test_a_release_of_what_is_no_resource_is_refused(deliver: Deliver, limited: Store) -> None:
    approved(submit(deliver, "first", ROOM))
    queued(submit(deliver, "second", 1))
    assert deliver(POLICY, RELEASED, {**CUES[RELEASED], "released": {"search": 3}}).status == 422


def test_what_nobody_waits_for_is_not_announced(deliver: Deliver, limited: Store) -> None:
    approved(submit(deliver, "first", ROOM))
    queued(submit(deliver, "second", 1))
    approved(submit(deliver, "other", 2, team="ads"))
    with limited.begin() as work:
        known = workload(limited, "other", "ads")
        nothing = Reservation(known.id, known.cluster, "ads", {})
        assert release(work, [(nothing, known.plan_id)]) == ()


def test_a_denial_announces_what_the_plan_before_it_held(deliver: Deliver, limited: Store) -> None:
    approved(submit(deliver, "first", ROOM))
    queued(submit(deliver, "second", 2))
    policy(limited, {"type": "image", "forbidden_tags": ["bad"]}, name="images")
    denied(submit(deliver, "first", ROOM, image="nginx:bad"))
    [released] = left_in_outbox(limited, CONTINUED)
    again = deliver(POLICY, CONTINUED, released.data)
    assert approved(deliver.forward(POLICY, again)) == newest(limited, "second").id


def test_a_plan_for_another_cluster_announces_what_the_one_before_it_held(deliver: Deliver, store: Store) -> None:
    with store.begin() as work:
        work.catalogue.register_cluster(Cluster("east", {"region": "us"}, None))
    policy(store, gpus(ROOM, "cluster"))
    here, there = ({"clusters": {"matchLabels": {"region": region}}} for region in ("eu", "us"))
    approved(submit(deliver, "first", ROOM, **here))
    queued(submit(deliver, "second", 2, **here))
    approved(submit(deliver, "first", ROOM, **there))
    [released] = left_in_outbox(store, CONTINUED)
    again = deliver(POLICY, CONTINUED, released.data)
    assert approved(deliver.forward(POLICY, again)) == newest(store, "second").id


@pytest.mark.parametrize("leaves", ["withdrawn", "submitted again", "approved"])
def test_a_starved_plan_that_leaves_lets_those_go_on_that_it_held_back(
    deliver: Deliver, limited: Store, leaves: str
) -> None:
    approved(submit(deliver, "base", 3))
    overtake(limited, queued(submit(deliver, "large", 6)).plan, MAX_OVERTAKES)
    queued(submit(deliver, "late", 1))
    match leaves:
        case "withdrawn":
            approved(deliver.forward(POLICY, deliver.withdraw("large")))
        case "submitted again":
            queued(submit(deliver, "large", 6))
        case "approved":
            free(limited, "base")
            approved(deliver(POLICY, RECONSIDERED, PlanReconsidered.of(newest(limited, "large"))))
    [released] = left_in_outbox(limited, CONTINUED)
    again = deliver(POLICY, CONTINUED, released.data)
    assert approved(deliver.forward(POLICY, again)) == newest(limited, "late").id


def test_one_cue_delivered_twice_at_once_decides_a_queued_plan_once(
    deliver: Deliver, limited: Store, postgres: EmbeddedPostgres, owner_engine: sa.Engine
) -> None:
    approved(submit(deliver, "first", 5))
    queued(submit(deliver, "second", 4))
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
