"""The status table of a function, and what is stored when: through the endpoint core, on real PostgreSQL."""

import json
from collections.abc import Callable, Sequence
from functools import partial

import pytest
import sqlalchemy as sa

from events import CATALOGUE
from events.deployment import DeploymentApplied
from events.foreign import Tick
from events.plan import PlanProposed
from events.telemetry import TelemetryWorkload
from shared import tracing
from shared.errors import AlreadyInProgress, PoisonEvent, StoreUnavailable
from shared.eventing import codec
from shared.eventing.event import MAX_HOPS, Event, Outgoing, outgoing_id
from shared.eventing.function import MAX_ATTEMPTS, ClusterFunction, Done, TransactionalFunction
from shared.store import inbox
from shared.store.unit_of_work import Store, UnitOfWork
from tests.support.builders import (
    APPROVED,
    INTAKE,
    POLICY,
    PROPOSED,
    REJECTED,
    SUBMITTED,
    TESTS,
    Deliver,
    connection_of,
    in_parallel,
    request,
    rows,
    submission,
    told,
)
from tests.support.emitters import PLAN, TICK, error, rejected, state, tells

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

# Refusals before the inbox -------------------------------------------------------------------------------------------


def test_what_is_no_event_is_400_and_leaves_nothing(deliver: Deliver, owner_engine: sa.Engine) -> None:
    answer = deliver.raw(INTAKE, {"content-type": "application/json"}, b"{}")
    assert (answer.status, answer.headers) == (400, {"content-type": "application/json"})
    assert "send ce-id" in error(answer)
    assert rows(owner_engine, "inbox") == []


def test_an_unknown_type_is_422(deliver: Deliver) -> None:
    answer = deliver(INTAKE, "com.example.unknown", {})
    assert answer.status == 422
    assert error(answer).startswith("'com.example.unknown': unknown event type; this function takes dev.sentinel")


def test_a_type_of_another_function_is_422(deliver: Deliver) -> None:
    answer = deliver(INTAKE, PROPOSED, PLAN)
    assert answer.status == 422
    assert error(answer).startswith(f"{PROPOSED!r}: this function takes {SUBMITTED}")


def test_data_that_does_not_fit_is_422_with_every_bad_field(deliver: Deliver, owner_engine: sa.Engine) -> None:
    answer = deliver(POLICY, PROPOSED, {**PLAN, "plan": "x", "generation": 0, "surprise": 1})
    assert answer.status == 422
    for field in ("plan: ", "generation: ", "surprise: "):
        assert field in error(answer)
    assert rows(owner_engine, "inbox") == []


@pytest.mark.parametrize("data", [b"[]", b"7", b"null", b'"text"'])
def test_data_that_is_no_object_is_422(deliver: Deliver, data: bytes) -> None:
    assert deliver(POLICY, PROPOSED, data).status == 422


def test_a_field_name_cannot_forge_a_line_of_the_log(deliver: Deliver) -> None:
    answer = deliver(POLICY, PROPOSED, {**PLAN, "a\n12:00:00 INFO forged": 1})
    assert answer.status == 422
    assert "\n" not in answer.outcome


def test_an_own_type_needs_a_subject_and_a_foreign_one_does_not(deliver: Deliver) -> None:
    answer = deliver(tells(), PROPOSED, PLAN, subject=None)
    assert (answer.status, "needs a subject" in error(answer)) == (422, True)
    assert deliver(tells(), TICK, {"surprise": True}, subject=None).status == 202
    assert deliver(tells(), TICK, b"[]", subject=None).status == 202


@pytest.mark.parametrize(
    ("hop", "status"), [("0", 200), (str(MAX_HOPS), 200), (str(MAX_HOPS + 1), 422), ("0" * 9 + "99", 422)]
)
def test_an_event_past_the_hop_limit_is_poison(deliver: Deliver, hop: str, status: int) -> None:
    assert deliver(tells(rejected()), PROPOSED, PLAN, hop=hop).status == status


@pytest.mark.parametrize("hop", ["0", str(MAX_HOPS), str(MAX_HOPS + 1), "x"])
def test_the_hops_of_an_event_from_outside_begin_here(deliver: Deliver, hop: str) -> None:
    answer = deliver(INTAKE, SUBMITTED, submission(), subject=None, hop=hop)
    assert told(answer).attributes["hop"] == "1"


@pytest.mark.parametrize("hop", ["-1", "1.5", "x", "9" * 5000])
def test_a_hop_that_is_no_number_is_poison(deliver: Deliver, hop: str) -> None:
    answer = deliver(tells(), PROPOSED, PLAN, hop=hop)
    assert (answer.status, "'hop' must be a whole number" in error(answer)) == (422, True)


# Replies -------------------------------------------------------------------------------------------------------------


def test_a_reply_is_an_event_that_follows_from_the_incoming_one(deliver: Deliver) -> None:
    how = {"traceparent": PARENT, "tracestate": "a=b", "partitionkey": "other", "knativekafkaoffset": "7"}
    answer = deliver(tells(rejected(subject="w-1")), PROPOSED, PLAN, event_id="e", hop="4", **how)
    event = told(answer)
    assert (answer.status, answer.outcome) == (200, f"handled -> {REJECTED}")
    expected = {
        "specversion": "1.0",
        "type": REJECTED,
        "source": "/sentinel/teller",
        "subject": "w-1",
        "partitionkey": "w-1",
        "hop": "5",
        "traceparent": PARENT,
        "tracestate": "a=b",
        "datacontenttype": "application/json",
    }
    assert expected.items() <= event.attributes.items()
    assert event.attributes.keys() - expected.keys() == {"id", "time"}
    assert event.attributes["time"].endswith("Z")


def test_a_trace_goes_on_through_the_outbox_and_in_the_answer(deliver: Deliver) -> None:
    answer = deliver(tells(rejected(), rejected()), PROPOSED, PLAN, traceparent=PARENT)
    assert answer.trace_id == PARENT[3:35]
    assert told(answer).attributes["traceparent"] == PARENT
    assert told(deliver.published(REJECTED)).attributes["traceparent"] == PARENT
    assert tracing.current() is None


def test_a_caller_of_http_may_name_the_trace_in_a_header(deliver: Deliver) -> None:
    headers, body = request(PROPOSED, PLAN)
    answer = deliver.raw(tells(rejected()), {**headers, "traceparent": PARENT, "tracestate": "a=b"}, body)
    assert {"traceparent": PARENT, "tracestate": "a=b"}.items() <= told(answer).attributes.items()


@pytest.mark.parametrize("parent", ["00-1-1-01", PARENT.upper(), "ff" + PARENT[2:], PARENT + "-more", "x" * 9000])
def test_a_malformed_trace_begins_anew_and_refuses_nothing(deliver: Deliver, parent: str) -> None:
    answer = deliver(tells(rejected()), PROPOSED, PLAN, traceparent=parent, tracestate="a=b")
    assert (answer.status, answer.trace_id) == (200, "")
    assert not {"traceparent", "tracestate"} & told(answer).attributes.keys()


def test_no_event_to_tell_is_202_without_a_body(deliver: Deliver) -> None:
    answer = deliver(tells(), PROPOSED, PLAN)
    assert (answer.status, dict(answer.headers), answer.body) == (202, {}, b"")


def test_ids_follow_from_the_event_and_the_ordinal(deliver: Deliver, owner_engine: sa.Engine) -> None:
    headers, body = request(PROPOSED, PLAN, event_id="e", reply=False)
    first = told(deliver.raw(tells(rejected(), rejected()), headers, body))
    incoming = codec.decode(headers, body)
    expected = [str(outgoing_id("teller", incoming, REJECTED, "s", ordinal)) for ordinal in (0, 1)]
    assert first.id == expected[0]
    assert {row["attributes"]["id"] for row in rows(owner_engine, "outbox")} == set(expected)


def test_ids_differ_by_consumer_source_id_type_subject_and_ordinal() -> None:
    one = codec.decode(*request(PROPOSED, PLAN, event_id="e"))
    same_id = codec.decode(*request(PROPOSED, PLAN, event_id="e", source="/other"))
    other_id = codec.decode(*request(PROPOSED, PLAN, event_id="f"))
    ids = {
        outgoing_id("a", one, "t", "s", 0),
        outgoing_id("b", one, "t", "s", 0),
        outgoing_id("a", same_id, "t", "s", 0),
        outgoing_id("a", other_id, "t", "s", 0),
        outgoing_id("a", one, "u", "s", 0),
        outgoing_id("a", one, "t", "z", 0),
        outgoing_id("a", one, "t", "s", 1),
    }
    assert len(ids) == 7


@pytest.mark.parametrize(("reply", "queued"), [(True, ["b", "c"]), (False, ["a", "b", "c"])])
def test_the_outbox_holds_what_the_reply_does_not_carry(
    deliver: Deliver, owner_engine: sa.Engine, reply: bool, queued: list[str]
) -> None:
    function = tells(rejected(subject="a"), rejected(subject="b"), rejected(subject="c"))
    assert told(deliver(function, PROPOSED, PLAN, reply=reply)).subject == "a"
    assert sorted(row["attributes"]["subject"] for row in rows(owner_engine, "outbox")) == queued


@pytest.mark.parametrize("subject", ["", "a\nb", "\t", "ø" * 513])
def test_an_event_that_could_not_be_carried_is_not_stored(
    deliver: Deliver, owner_engine: sa.Engine, subject: str
) -> None:
    answer = deliver(tells(rejected(subject=subject)), PROPOSED, PLAN)
    assert (answer.status, "could not be sent: the attribute 'subject'" in error(answer)) == (422, True)
    assert rows(owner_engine, "audit_log") == []


# Duplicates ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", [True, False])
def test_a_duplicate_gets_the_stored_reply_and_changes_nothing(
    deliver: Deliver, owner_engine: sa.Engine, reply: bool
) -> None:
    headers, body = request(SUBMITTED, submission(), reply=reply, subject=None)
    first = deliver.raw(INTAKE, headers, body)
    before = state(owner_engine)
    again = deliver.raw(INTAKE, {**headers, "ce-knativekafkaoffset": "9"}, body)
    assert (again.status, again.headers, again.body) == (first.status, first.headers, first.body)
    assert (first.outcome, again.outcome) == (f"handled -> {PROPOSED}", f"duplicate -> {PROPOSED}")
    assert state(owner_engine) == before
    assert [row["attempts"] for row in rows(owner_engine, "inbox")] == [1]


def test_a_duplicate_in_structured_mode_and_another_spelling_is_the_same_event(deliver: Deliver) -> None:
    headers, body = request(SUBMITTED, submission(), event_id="e", subject=None)
    first = deliver.raw(INTAKE, headers, body)
    document = {"specversion": "1.0", "id": "e", "source": "/test", "type": SUBMITTED, "data": json.loads(body)}
    text = json.dumps(document, indent=3).replace('"replicas": 2', '"replicas": 2.0')
    again = deliver.raw(INTAKE, {"content-type": "application/cloudevents+json"}, text.encode())
    assert again.body == first.body


def test_a_duplicate_without_a_reply_is_202_again(deliver: Deliver) -> None:
    for outcome in ("handled", "duplicate"):
        answer = deliver(tells(), PROPOSED, PLAN, event_id="e")
        assert (answer.status, answer.outcome) == (202, outcome)


def test_the_same_id_from_another_source_is_another_event(deliver: Deliver) -> None:
    one = deliver(tells(rejected()), PROPOSED, PLAN, event_id="e", source="/a")
    other = deliver(tells(rejected()), PROPOSED, PLAN, event_id="e", source="/b")
    assert told(one).id != told(other).id


def test_the_same_event_counts_for_each_consumer(deliver: Deliver, owner_engine: sa.Engine) -> None:
    for name in ("a", "b"):
        function = TransactionalFunction(name, CATALOGUE.of(PlanProposed), tells(rejected()).handle)
        assert deliver(function, PROPOSED, PLAN, event_id="e").outcome.startswith("handled")
    assert len(rows(owner_engine, "inbox")) == 2


def test_the_same_id_with_other_data_is_refused_and_recorded(deliver: Deliver, owner_engine: sa.Engine) -> None:
    deliver(tells(), PROPOSED, PLAN, event_id="e")
    before = rows(owner_engine, "inbox")
    answer = deliver(tells(), PROPOSED, {**PLAN, "generation": 2}, event_id="e")
    assert answer.status == 422
    assert "another event with the source '/test' and the id 'e' had other data" in error(answer)
    assert rows(owner_engine, "inbox") == before
    audits = [row for row in rows(owner_engine, "audit_log") if row["action"] == "event.refused"]
    assert [json.loads(bytes(row["body"]))["id"] for row in audits] == ["e"]


def test_an_id_belongs_to_the_first_event_that_is_handled(deliver: Deliver, owner_engine: sa.Engine) -> None:
    """Whoever guesses the id of an event cannot keep it from being handled with one that fails."""
    forged = {**PLAN, "generation": 2}
    for _ in range(3):
        assert deliver(failing(lambda: PoisonEvent("no")), PROPOSED, forged, event_id="e").status == 422
    assert attempts(owner_engine) == [3]
    answer = deliver(tells(rejected()), PROPOSED, PLAN, event_id="e")
    assert (answer.status, attempts(owner_engine)) == (200, [1])
    assert deliver(tells(), PROPOSED, forged, event_id="e").status == 422
    assert deliver(tells(), PROPOSED, PLAN, event_id="e").body == answer.body


def test_an_event_whose_id_is_taken_while_it_is_handled_is_undone_and_tried_again(
    deliver: Deliver, owner_engine: sa.Engine
) -> None:
    def taken(event: Event, work: UnitOfWork) -> Sequence[Outgoing]:
        work.audit("slower", "x", TESTS)
        forged = {**PLAN, "generation": 2}
        assert deliver(failing(lambda: PoisonEvent("no")), PROPOSED, forged, event_id="e").status == 422
        return [rejected()]

    function = TransactionalFunction("teller", CATALOGUE.of(PlanProposed), taken)
    assert deliver(function, PROPOSED, PLAN, event_id="e").status == 409
    assert rows(owner_engine, "audit_log") == []
    assert deliver(tells(rejected()), PROPOSED, PLAN, event_id="e").status == 200


# What has a natural key ----------------------------------------------------------------------------------------------

SAMPLE = "dev.sentinel.telemetry.workload.v1"


def test_an_event_with_a_natural_key_has_no_row_in_the_inbox_and_is_handled_each_time(
    deliver: Deliver, owner_engine: sa.Engine
) -> None:
    """It is handled again, because its handler finds the duplicate; what it emits has the same id each time."""
    function = TransactionalFunction("teller", CATALOGUE.of(TelemetryWorkload), tells(rejected()).handle)
    for _ in range(2):
        answer = deliver(function, SAMPLE, dict(CATALOGUE[SAMPLE].example), event_id="sample")
        assert (answer.status, answer.body) == (202, b"")
    assert rows(owner_engine, "inbox") == []
    assert len({row["attributes"]["id"] for row in rows(owner_engine, "outbox")}) == 1


# What the next tick repeats ------------------------------------------------------------------------------------------


def test_a_tick_has_no_row_in_the_inbox_and_what_follows_goes_through_the_outbox(
    deliver: Deliver, owner_engine: sa.Engine
) -> None:
    for _ in range(2):
        answer = deliver(tells(rejected(), rejected()), TICK, {}, event_id="tick", subject=None)
        assert (answer.status, answer.body) == (202, b"")
    assert rows(owner_engine, "inbox") == []
    queued = [row["attributes"]["id"] for row in rows(owner_engine, "outbox")]
    assert len(set(queued)) == len(queued) == 4, "a tick that comes again says something of its own"


def test_a_tick_that_crashes_leaves_nothing(deliver: Deliver, owner_engine: sa.Engine) -> None:
    def crash(event: Event, work: UnitOfWork) -> Sequence[Outgoing]:
        work.audit("tried", "x", TESTS)
        work.write_audits()
        raise ZeroDivisionError

    function = TransactionalFunction("teller", CATALOGUE.of(Tick), crash)
    with pytest.raises(ZeroDivisionError):
        deliver(function, TICK, {}, subject=None)
    assert rows(owner_engine, "audit_log") == rows(owner_engine, "outbox") == []


# Attempts ------------------------------------------------------------------------------------------------------------


def failing(failure: Callable[[], Exception]) -> TransactionalFunction[UnitOfWork]:
    def handle(event: Event, work: UnitOfWork) -> Sequence[Outgoing]:
        work.audit("tried", "x", TESTS)
        work.write_audits()
        raise failure()

    return TransactionalFunction("teller", CATALOGUE.of(PlanProposed), handle)


def attempts(engine: sa.Engine) -> list[int]:
    return [row["attempts"] for row in rows(engine, "inbox")]


def test_attempts_are_counted_although_the_handling_is_rolled_back(deliver: Deliver, owner_engine: sa.Engine) -> None:
    for count in (1, 2, 3):
        with pytest.raises(ZeroDivisionError):
            deliver(failing(ZeroDivisionError), PROPOSED, PLAN, event_id="e")
        assert attempts(owner_engine) == [count]
    assert rows(owner_engine, "audit_log") == []


@pytest.mark.parametrize(("failure", "status"), [(StoreUnavailable("away"), 503), (AlreadyInProgress("busy"), 409)])
def test_later_is_answered_for_ever_and_counts_as_no_attempt(
    deliver: Deliver, owner_engine: sa.Engine, failure: Exception, status: int
) -> None:
    for _ in range(MAX_ATTEMPTS + 2):
        assert deliver(failing(lambda: failure), PROPOSED, PLAN, event_id="e").status == status
    assert attempts(owner_engine) == [0]
    assert deliver(tells(), PROPOSED, PLAN, event_id="e").status == 202


def test_past_the_last_attempt_is_422_and_a_reset_gives_a_fresh_start(
    deliver: Deliver, store: Store, owner_engine: sa.Engine
) -> None:
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(ZeroDivisionError):
            deliver(failing(ZeroDivisionError), PROPOSED, PLAN, event_id="e")
    assert deliver(tells(), PROPOSED, PLAN, event_id="e").status == 422
    assert "redrive the dead letter" in error(deliver(tells(), PROPOSED, PLAN, event_id="e"))
    with store.begin() as work:
        inbox.reset_attempts(connection_of(work), "/test", "e")
    assert deliver(tells(), PROPOSED, PLAN, event_id="e").status == 202
    assert attempts(owner_engine) == [1]


def test_a_handled_event_is_answered_however_often_it_comes(deliver: Deliver, owner_engine: sa.Engine) -> None:
    statuses = {deliver(tells(rejected()), PROPOSED, PLAN, event_id="e").status for _ in range(MAX_ATTEMPTS + 5)}
    assert (statuses, attempts(owner_engine)) == ({200}, [1])


def test_a_defect_of_ours_leaves_the_processor(deliver: Deliver, owner_engine: sa.Engine) -> None:
    with pytest.raises(ZeroDivisionError):
        deliver(failing(ZeroDivisionError), PROPOSED, PLAN)
    assert (attempts(owner_engine), rows(owner_engine, "audit_log")) == ([1], [])


# Concurrency ---------------------------------------------------------------------------------------------------------


def test_two_deliveries_of_one_event_have_one_effect(deliver: Deliver, owner_engine: sa.Engine) -> None:
    for round_number in range(5):
        headers, body = request(SUBMITTED, submission(f"w-{round_number}"), subject=None)
        answers = in_parallel(*[partial(deliver.raw, INTAKE, headers, body)] * 4)
        assert {answer.status for answer in answers} <= {200, 409}
        assert len({answer.body for answer in answers if answer.status == 200}) == 1
    assert len(rows(owner_engine, "action_plans")) == 5
    assert len(rows(owner_engine, "audit_log")) == 5


def test_the_slower_of_two_deliveries_is_409_and_undone(deliver: Deliver, owner_engine: sa.Engine) -> None:
    def overtaken(event: Event, work: UnitOfWork) -> Sequence[Outgoing]:
        work.audit("slower", "x", TESTS)
        assert deliver(tells(rejected()), PROPOSED, PLAN, event_id="e").status == 200
        return []

    answer = deliver(
        TransactionalFunction("teller", CATALOGUE.of(PlanProposed), overtaken), PROPOSED, PLAN, event_id="e"
    )
    assert answer.status == 409
    assert [row["action"] for row in rows(owner_engine, "audit_log")] == ["seen"]


# The two-transaction form --------------------------------------------------------------------------------------------


class Cluster:
    """A function in two transactions, and what it did to its cluster."""

    def __init__(self) -> None:
        self.performed: list[str] = []
        self.failure: Exception | None = None

    def prepare(self, event: Event, work: UnitOfWork) -> str | Done:
        work.audit("intended", "x", TESTS)
        return Done([rejected()]) if event.subject == "nothing" else str(event.subject)

    def perform(self, task: str) -> int:
        self.performed.append(task)
        if self.failure is not None:
            raise self.failure
        return len(self.performed)

    def conclude(self, event: Event, task: str, result: int, work: UnitOfWork) -> Sequence[Outgoing]:
        work.audit("concluded", "x", TESTS, result=result)
        return [rejected(name=str(result))]

    @property
    def function(self) -> ClusterFunction[UnitOfWork, str, int]:
        return ClusterFunction("cluster", CATALOGUE.of(PlanProposed), self.prepare, self.perform, self.conclude)


def actions(engine: sa.Engine) -> list[str]:
    return [row["action"] for row in sorted(rows(engine, "audit_log"), key=lambda row: row["recorded_at"])]


def test_intent_and_outcome_commit_apart(deliver: Deliver, owner_engine: sa.Engine) -> None:
    cluster = Cluster()
    answer = deliver(cluster.function, PROPOSED, PLAN, event_id="e")
    assert (answer.status, cluster.performed, actions(owner_engine)) == (200, ["test"], ["intended", "concluded"])
    assert deliver(cluster.function, PROPOSED, PLAN, event_id="e").body == answer.body
    assert cluster.performed == ["test"]


def test_nothing_to_perform_ends_in_the_first_transaction(deliver: Deliver, owner_engine: sa.Engine) -> None:
    cluster = Cluster()
    assert deliver(cluster.function, PROPOSED, PLAN, subject="nothing").status == 200
    assert (cluster.performed, actions(owner_engine)) == ([], ["intended"])


def test_a_crash_between_the_transactions_performs_again(deliver: Deliver, owner_engine: sa.Engine) -> None:
    cluster = Cluster()
    cluster.failure = ConnectionResetError("killed")
    with pytest.raises(ConnectionResetError):
        deliver(cluster.function, PROPOSED, PLAN, event_id="e")
    assert actions(owner_engine) == ["intended"]
    cluster.failure = None
    answer = deliver(cluster.function, PROPOSED, PLAN, event_id="e")
    assert (answer.status, cluster.performed) == (200, ["test", "test"])
    assert (actions(owner_engine), attempts(owner_engine)) == (["intended", "intended", "concluded"], [2])


def test_the_next_good_event_is_handled_after_every_bad_one(deliver: Deliver) -> None:
    for bad in ({"ce-id": ""}, {"ce-type": "x"}, {"ce-specversion": "2"}):
        headers, body = request(SUBMITTED, submission(), subject=None)
        assert 400 <= deliver.raw(INTAKE, headers | bad, body).status < 500
        assert deliver.submit().status in (200, 202)


def test_every_declared_type_can_be_taken(deliver: Deliver) -> None:
    accepts = {declared.name: declared for declared in CATALOGUE}
    function = TransactionalFunction("all", accepts, tells().handle)
    for declared in CATALOGUE:
        assert deliver(function, declared.name, declared.example).status == 202, declared.name
    assert {APPROVED, CATALOGUE.name_of(DeploymentApplied)} <= accepts.keys()


def test_an_event_that_no_broker_carries_is_refused_where_it_is_made(deliver: Deliver, owner_engine: sa.Engine) -> None:
    answer = deliver(tells(rejected("x" * 1_048_576)), PROPOSED, PLAN)
    assert answer.status == 422
    assert "its dev.sentinel.workload.rejected.v1 could not be sent: the event" in error(answer)
    assert rows(owner_engine, "outbox") == []
