"""The inbox and the outbox: counting, replies, retention, relays side by side."""

import uuid
from datetime import timedelta

import pytest
import sqlalchemy as sa

from shared.errors import EventTooLarge
from shared.eventing.event import WireEvent
from shared.eventing.publishing import PublishingFailed
from shared.eventing.relay import PAGE_SECONDS, publish_pending
from shared.models.retention import DEFAULT_RETENTION
from shared.store import inbox, outbox
from shared.store.unit_of_work import Store
from tests.support.builders import connection_of, envelope, rows

REPLY = WireEvent({"specversion": "1.0", "id": "r", "source": "/s", "type": "t", "subject": "x"}, b'{"a": 1}')


def event(number: int) -> WireEvent:
    return WireEvent({"specversion": "1.0", "id": str(number), "source": "/s", "type": "t"}, b"%d" % number)


def test_a_claim_counts_until_the_reply_is_stored(store: Store) -> None:
    incoming = envelope(event_id="e")
    first, second = store.claim("c", incoming), store.claim("c", incoming)
    assert (first.handled, first.same_data, first.attempts, second.attempts) == (False, True, 1, 2)
    assert first.now.utcoffset() is not None
    with store.begin() as work:
        assert inbox.finish(connection_of(work), "c", incoming, REPLY, [])
        assert not inbox.finish(connection_of(work), "c", incoming, REPLY, [])
    after = store.claim("c", incoming)
    assert (after.handled, after.attempts, after.reply) == (True, 2, REPLY)
    assert store.claim("d", incoming).attempts == 1


def test_other_data_takes_over_a_row_that_was_not_handled_and_is_told_apart_after(store: Store) -> None:
    first, other = envelope(event_id="e"), envelope(event_id="e", data={"other": 1})
    for _ in range(2):
        store.claim("c", first)
    taken = store.claim("c", other)
    assert (taken.same_data, taken.attempts) == (True, 1)
    with store.begin() as work:
        assert not inbox.finish(connection_of(work), "c", first, REPLY, [])
        assert inbox.finish(connection_of(work), "c", other, REPLY, [])
    refused = store.claim("c", first)
    assert (refused.handled, refused.same_data, refused.attempts) == (True, False, 1)


def test_events_of_one_transaction_leave_in_their_order(store: Store) -> None:
    several = [event(number) for number in range(20)]
    store.claim("c", envelope(event_id="e"))
    with store.begin() as work:
        queued = work.finish("c", envelope(event_id="e"), REPLY, several)
    with store.begin() as work:
        assert outbox.lock_pending(connection_of(work), 99) == queued
    assert [row.event for row in queued] == several


def test_a_delivery_that_was_overtaken_queues_nothing(store: Store, owner_engine: sa.Engine) -> None:
    store.claim("c", envelope(event_id="e"))
    for faster in (True, False):
        with store.begin() as work:
            assert (
                inbox.finish(connection_of(work), "c", envelope(event_id="e"), None, outbox.queued([event(1)]))
                is faster
            )
    assert len(rows(owner_engine, "outbox")) == 1


def test_a_claim_is_one_statement_and_no_transaction_of_the_clients(store: Store, engine: sa.Engine) -> None:
    store.claim("c", envelope(event_id="warm"))  # the first asks the server what it is
    sent: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    sa.event.listen(engine, "before_cursor_execute", count)
    sa.event.listen(engine, "commit", count)
    try:
        store.claim("c", envelope(event_id="e"))
    finally:
        sa.event.remove(engine, "before_cursor_execute", count)
        sa.event.remove(engine, "commit", count)
    assert len([statement for statement in sent if isinstance(statement, str)]) == 1


def test_what_a_consumer_answered(store: Store) -> None:
    incoming = envelope(event_id="e")
    store.claim("c", incoming)
    with store.begin() as work:
        assert inbox.answer(connection_of(work), "c", "/test", "e") is None
        inbox.finish(connection_of(work), "c", incoming, None, [])
        found = inbox.answer(connection_of(work), "c", "/test", "e")
    assert found == inbox.Answered(None, envelope(event_id="e").digest)


def test_a_reset_is_for_events_that_were_not_handled(store: Store, owner_engine: sa.Engine) -> None:
    for consumer in ("a", "b"):
        store.claim(consumer, envelope(event_id="e"))
    with store.begin() as work:
        inbox.finish(connection_of(work), "a", envelope(event_id="e"), None, [])
        inbox.reset_attempts(connection_of(work), "/test", "e")
    assert {row["consumer"]: row["attempts"] for row in rows(owner_engine, "inbox")} == {"a": 1, "b": 0}


def test_old_handled_events_are_forgotten_a_few_at_a_time(store: Store, owner_engine: sa.Engine) -> None:
    for number in range(5):
        incoming = envelope(event_id=str(number))
        store.claim("c", incoming)
        with store.begin() as work:
            inbox.finish(connection_of(work), "c", incoming, None, [])
    store.claim("c", envelope(event_id="open"))
    with owner_engine.begin() as connection:
        old = "UPDATE inbox SET updated_at = now() - interval '8 days' WHERE event_id IN ('1', '2', '3')"
        connection.execute(sa.text(old))
    with store.begin() as work:
        assert inbox.forget_old(connection_of(work), timedelta(days=7), 2) == 2
        assert inbox.forget_old(connection_of(work), timedelta(days=7), 2) == 1
        assert inbox.forget_old(connection_of(work), timedelta(days=7), 2) == 0
    assert {row["event_id"] for row in rows(owner_engine, "inbox")} == {"0", "4", "open"}


def queue(store: Store, count: int) -> None:
    for number in range(count):
        with store.begin() as work:
            outbox.add(connection_of(work), [event(number)])


def test_pending_events_come_oldest_first_and_once(store: Store) -> None:
    queue(store, 3)
    with store.begin() as work:
        pending = outbox.lock_pending(connection_of(work), 2)
        assert [row.event for row in pending] == [event(0), event(1)]
        outbox.mark_published(connection_of(work), [row.id for row in pending])
        outbox.mark_published(connection_of(work), [])
        outbox.add(connection_of(work), [])
    with store.begin() as work:
        assert [row.event for row in outbox.lock_pending(connection_of(work), 9)] == [event(2)]


def test_relays_side_by_side_skip_what_another_holds(store: Store) -> None:
    queue(store, 4)
    with store.begin() as one, store.begin() as other:
        first = outbox.lock_pending(connection_of(one), 2)
        second = outbox.lock_pending(connection_of(other), 9)
        assert {row.event.body for row in first} == {b"0", b"1"}
        assert {row.event.body for row in second} == {b"2", b"3"}


def test_a_refused_event_stays_with_its_reason_and_blocks_nobody(store: Store, owner_engine: sa.Engine) -> None:
    queue(store, 2)
    with store.begin() as work:
        outbox.mark_refused(connection_of(work), outbox.lock_pending(connection_of(work), 1)[0].id, "too large")
        assert [row.event for row in outbox.lock_pending(connection_of(work), 9)] == [event(1)]
    assert {row["refused"] for row in rows(owner_engine, "outbox")} == {"too large", None}


def test_old_published_events_are_forgotten_a_page_at_a_time(store: Store, owner_engine: sa.Engine) -> None:
    queue(store, 3)
    with owner_engine.begin() as connection:
        connection.execute(sa.text("UPDATE outbox SET published_at = now() - interval '8 days' WHERE body <> '0'"))
    for limit, left in ((1, 2), (9, 1), (9, 1)):
        with store.begin() as work:
            work.forget_old(DEFAULT_RETENTION, limit)
        assert len(rows(owner_engine, "outbox")) == left
    assert [bytes(row["body"]) for row in rows(owner_engine, "outbox")] == [b"0"]


def test_early_withdrawals_are_forgotten_with_the_events_of_their_time(store: Store, owner_engine: sa.Engine) -> None:
    with store.begin() as work:
        for number in range(3):
            work.workloads.remember_withdrawal(uuid.UUID(int=number), 1)
    with owner_engine.begin() as connection:
        connection.execute(sa.text("UPDATE withdrawals SET updated_at = now() - interval '8 days'"))
    with store.begin() as work:
        work.workloads.remember_withdrawal(uuid.UUID(int=0), 2)
        work.forget_old(DEFAULT_RETENTION, 10)
    assert [row["id"] for row in rows(owner_engine, "withdrawals")] == [uuid.UUID(int=0)]


class Sink:
    """Takes events, but for some: by the last digit of their id."""

    def __init__(self, *, refuses: str = "-", fails: str = "-") -> None:
        self.refuses, self.fails = refuses, fails
        self.taken: list[bytes] = []

    def publish(self, event: WireEvent) -> None:
        last = event.attributes["id"][-1]
        if last in (self.refuses, self.fails):
            raise PublishingFailed("no", permanent=last == self.refuses)
        self.taken.append(event.body)


@pytest.mark.parametrize(
    ("sink", "limit", "expected"),
    [
        (Sink(), 2, (2, 0, "", True)),
        (Sink(), 9, (4, 0, "", False)),
        (Sink(refuses="1"), 9, (3, 1, "", False)),
        (Sink(fails="2"), 4, (3, 0, "no", True)),
    ],
)
def test_a_page_is_published(store: Store, sink: Sink, limit: int, expected: tuple[int, int, str, bool]) -> None:
    queue(store, 4)
    relayed = publish_pending(store, sink, limit)
    assert (relayed.published, len(relayed.refused), relayed.failure, relayed.more) == expected
    again = Sink()
    with store.begin() as work:
        connection_of(work).execute(sa.text("UPDATE outbox SET next_attempt_at = now()"))
    publish_pending(store, again, 9)
    assert len(sink.taken) + len(relayed.refused) + len(again.taken) == 4
    assert not set(sink.taken) & set(again.taken)


def test_a_slow_sink_ends_a_page_before_its_transaction_is_given_up(store: Store) -> None:
    class SlowSink(Sink):
        now = 0.0

        def publish(self, event: WireEvent) -> None:
            self.now += PAGE_SECONDS * 0.6
            super().publish(event)

    queue(store, 5)
    sink = SlowSink()
    pages = [publish_pending(store, sink, 9, clock=lambda: sink.now) for _ in range(3)]
    assert [(page.published, page.more) for page in pages] == [(2, True), (2, True), (1, False)]
    assert sink.taken == [b"0", b"1", b"2", b"3", b"4"]


def test_an_event_that_no_broker_would_take_never_comes_to_the_outbox(store: Store, owner_engine: sa.Engine) -> None:
    attributes = {"id": "x", "source": "/x", "type": "t"}
    with pytest.raises(EventTooLarge, match="the event t has"), store.begin() as work:
        work.add_to_outbox([WireEvent(attributes, b"x" * 1_048_588)])
    assert rows(owner_engine, "outbox") == []


def test_ids_of_queued_rows_are_their_own(store: Store, owner_engine: sa.Engine) -> None:
    queue(store, 2)
    assert len({uuid.UUID(str(row["id"])) for row in rows(owner_engine, "outbox")}) == 2
