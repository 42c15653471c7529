"""The relay publishes what no reply carried, to a sink over real HTTP."""

import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import sqlalchemy as sa

from events import CATALOGUE
from events.continuation import RelayContinued
from events.foreign import Tick
from functions.event_relay import function, handler
from functions.event_relay.function import build
from shared.eventing.event import WireEvent
from shared.eventing.processing import HttpAnswer
from shared.eventing.publishing import HttpPublisher
from shared.models.retention import Retention
from shared.store import outbox
from shared.store.tables import actions, dead_letters, policy_decisions
from shared.store.tables import inbox as inbox_table
from shared.store.tables import outbox as outbox_table
from shared.store.unit_of_work import Store
from tests.support.builders import Deliver, connection_of, request, told

TICK = CATALOGUE.name_of(Tick)
CONTINUED = CATALOGUE.name_of(RelayContinued)


@dataclass
class Sink:
    """A broker's ingress. refuses: by the id of the event, the status it gets. meanwhile: called on every request."""

    url: str = ""
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    refuses: dict[str, int] = field(default_factory=dict)
    meanwhile: Callable[[], object] = lambda: None

    @property
    def ids(self) -> list[str]:
        return [headers["ce-id"] for headers, _ in self.received]


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            sink.meanwhile()
            status = sink.refuses.get(headers["ce-id"], 202)
            if status == 202:
                sink.received.append((headers, body))
            reason = b"" if status == 202 else b"no such thing"
            self.send_response(status)
            self.send_header("content-length", str(len(reason)))
            self.end_headers()
            self.wfile.write(reason)

        def log_message(self, *_: object) -> None:
            """Nothing: the tests look at what arrived."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    sink.url = f"http://127.0.0.1:{server.server_address[1]}/sentinel/default"
    yield sink
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Relay:
    """The relay function on one store and one sink."""

    store: Store
    sink: Sink

    def __post_init__(self) -> None:
        self.function = build(self.store, HttpPublisher(self.sink.url))
        self.deliver = Deliver(self.store)

    def tick(self) -> HttpAnswer:
        return self.deliver.raw(self.function, *request(TICK, {}, subject=None))

    def queue(self, *ids: str) -> None:
        """Events that committed and that no reply carried, in this order."""
        with self.store.begin() as work:
            for position, event_id in enumerate(ids):
                outbox.add(connection_of(work), [_event(event_id)])
                placed = (
                    sa.func.now()
                    - sa.func.make_interval(0, 0, 0, 0, 1)
                    + sa.func.make_interval(0, 0, 0, 0, 0, 0, position)
                )
                named = outbox_table.c.attributes["id"].astext == event_id
                connection_of(work).execute(outbox_table.update().where(named).values(created_at=placed))

    def pass_time(self) -> None:
        """What waits is due."""
        with self.store.begin() as work:
            connection_of(work).execute(outbox_table.update().values(next_attempt_at=sa.func.now()))

    def waits(self, event_id: str) -> float:
        """For how many seconds an event is left alone from now on."""
        seconds = sa.func.extract("epoch", outbox_table.c.next_attempt_at - sa.func.now())
        named = outbox_table.c.attributes["id"].astext == event_id
        with self.store.begin() as work:
            return float(connection_of(work).execute(sa.select(seconds).where(named)).scalar_one())

    def rows(self) -> dict[str, tuple[bool, str | None]]:
        """By id of the event: whether it was published, and why it was refused."""
        table = outbox_table
        with self.store.begin() as work:
            found = connection_of(work).execute(sa.select(table.c.attributes, table.c.published_at, table.c.refused))
            return {row.attributes["id"]: (row.published_at is not None, row.refused) for row in found}


def _event(event_id: str) -> WireEvent:
    attributes = {
        "specversion": "1.0",
        "id": event_id,
        "source": "/sentinel/test",
        "type": "dev.sentinel.plan.proposed.v1",
        "subject": "w",
        "partitionkey": "w",
        "hop": "3",
        "datacontenttype": "application/json",
    }
    return WireEvent(attributes, b'{"n": 1}')


@pytest.fixture
def relay(store: Store, sink: Sink) -> Relay:
    return Relay(store, sink)


def test_what_no_reply_carried_is_published_as_it_was_stored_and_once(relay: Relay) -> None:
    relay.queue("a", "b")
    assert relay.tick().status == 202
    assert relay.sink.ids == ["a", "b"]
    headers, body = relay.sink.received[0]
    assert body == b'{"n": 1}'
    assert {name: headers[name] for name in ("ce-subject", "ce-partitionkey", "ce-hop", "ce-source")} == {
        "ce-subject": "w",
        "ce-partitionkey": "w",
        "ce-hop": "3",
        "ce-source": "/sentinel/test",
    }
    relay.tick()
    assert relay.sink.ids == ["a", "b"]
    assert relay.rows() == {"a": (True, None), "b": (True, None)}


def test_a_tick_publishes_a_page_and_its_continuations_the_rest(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function, "PAGE", 2)
    relay.queue("a", "b", "c", "d", "e")
    assert relay.tick().status == 202
    answer = relay.deliver.published(CONTINUED)
    assert told(answer).data == {"page": 2}
    assert relay.sink.ids == ["a", "b"]
    answer = relay.deliver.forward(relay.function, answer)
    assert told(answer).data == {"page": 3}
    answer = relay.deliver.forward(relay.function, answer)
    assert answer.status == 202
    assert relay.sink.ids == ["a", "b", "c", "d", "e"]


def test_a_tick_ends_after_its_last_page(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function, "PAGE", 1)
    relay.queue("a", "b")
    last = relay.deliver(relay.function, CONTINUED, {"page": handler.MAX_PAGES}, subject="tick")
    assert last.status == 202
    assert relay.sink.ids == ["a"]


def test_a_sink_that_is_away_keeps_everything_for_the_next_tick(
    store: Store, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    away = Relay(store, Sink("http://127.0.0.1:9/"))
    away.queue("a", "b")
    with caplog.at_level(logging.WARNING, "sentinel.event_relay"):
        assert away.tick().status == 202
    assert "the outbox waits for the next tick" in caplog.text
    assert away.rows() == {"a": (False, None), "b": (False, None)}
    back = Relay(store, sink)
    back.tick()
    assert sink.ids == ["b"]  # the sink may have broken the connection because of "a", which waits a second
    back.pass_time()
    back.tick()
    assert sink.ids == ["b", "a"]


def test_an_event_that_the_sink_answers_503_waits_by_itself_and_longer_each_time(relay: Relay) -> None:
    relay.queue("a", "b", "c")
    relay.sink.refuses = {"b": 503}
    relay.tick()
    assert relay.rows() == {"a": (True, None), "b": (False, None), "c": (True, None)}
    assert 0 < relay.waits("b") <= 1
    for longest in (2, 4, 8, 10, 10):
        relay.pass_time()
        relay.tick()
        assert longest / 2 < relay.waits("b") <= longest
    relay.sink.refuses = {}
    relay.tick()
    assert relay.sink.ids == ["a", "c"]
    relay.pass_time()
    relay.tick()
    assert relay.sink.ids == ["a", "c", "b"]


def test_a_full_page_of_events_that_the_sink_does_not_take_hides_no_other(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function, "PAGE", 2)
    relay.queue("a", "b", "c")
    relay.sink.refuses = {"a": 503, "b": 429}
    relay.tick()
    relay.deliver.forward(relay.function, relay.deliver.published(CONTINUED))
    assert relay.sink.ids == ["c"]


def test_a_refused_event_is_kept_with_the_reason_and_holds_nobody_up(
    relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    relay.queue("a", "b", "c")
    relay.sink.refuses = {"b": 400}
    with caplog.at_level(logging.ERROR, "sentinel.event_relay"):
        relay.tick()
    assert relay.sink.ids == ["a", "c"]
    published, reason = relay.rows()["b"]
    assert not published
    assert reason is not None
    assert "400 no such thing" in reason
    assert "the broker refuses b" in caplog.text
    relay.sink.refuses = {}
    relay.tick()
    assert relay.sink.ids == ["a", "c"]


def test_two_relays_at_once_publish_each_event_once(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are in the middle of a page at the same time: the sink lets nobody on before both have come."""
    monkeypatch.setattr(function, "PAGE", 5)
    relay.queue(*"abcdefghij")
    both = threading.Barrier(2)

    def wait_for_the_other() -> None:
        if not both.broken:
            try:
                both.wait(5)
            finally:
                relay.sink.meanwhile = lambda: None

    relay.sink.meanwhile = wait_for_the_other
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: relay.tick().status, range(2)))
    assert set(answers) <= {200, 202}
    assert sorted(relay.sink.ids) == list("abcdefghij")


def test_a_crash_after_publishing_publishes_again_under_the_same_id(relay: Relay) -> None:
    relay.queue("a")
    publisher = HttpPublisher(relay.sink.url)

    class Dying:
        def publish(self, event: WireEvent) -> None:
            publisher.publish(event)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        function.publish_page(relay.store, Dying(), 1)
    assert relay.rows() == {"a": (False, None)}
    relay.tick()
    assert relay.sink.ids == ["a", "a"]


def test_the_tick_forgets_what_is_over_and_old(relay: Relay) -> None:
    relay.queue("new", "old", "waiting", "refused")
    relay.sink.refuses = {"refused": 400}
    relay.tick()
    relay.sink.refuses = {"waiting": 503}
    week = sa.func.now() - sa.func.make_interval(0, 0, 0, 8)
    with relay.store.begin() as work:
        named = outbox_table.c.attributes["id"].astext
        forever = outbox_table.update().where(named.in_(("old", "refused", "waiting")))
        connection_of(work).execute(forever.values(created_at=week, published_at=sa.null()))
        connection_of(work).execute(outbox_table.update().where(named == "old").values(published_at=week))
        connection_of(work).execute(_aged(inbox_table, "handled_at", 8, **_KEY, digest=b"", attempts=1))
        outbox.add(connection_of(work), [_event("waiting-too")])
    relay.tick()
    assert set(relay.rows()) == {"new", "waiting", "waiting-too", "refused"}
    with relay.store.begin() as work:
        assert connection_of(work).execute(sa.select(sa.func.count()).select_from(inbox_table)).scalar_one() == 0


_KEY = {"consumer": "c", "source": "/s", "event_id": "e"}


def _aged(table: sa.Table, moment: str, days: int, **values: object) -> sa.Insert:
    """A row whose `moment` is so long ago, and whose other moments are too."""
    past = sa.func.now() - sa.func.make_interval(0, 0, 0, days)
    return table.insert().values(**{"created_at": past, "updated_at": past, moment: past, **values})


def _aged_rows(days: int) -> list[sa.Insert]:
    """One of everything that may go, and of what stays: an open letter, and an event that waits."""
    event = {"attributes": {"id": f"e{days}"}, "body": b""}
    letter = {"destination": "d", "source": "/s", "type": "t", "attributes": {}, "body": b"", "reason": ""}
    action = {"plan_id": uuid.uuid4(), "workload_id": uuid.uuid4(), "team": "t", "cluster": "c", "verb": "scale"}
    key = {"consumer": "c", "source": "/s", "event_id": f"e{days}"}
    return [
        _aged(inbox_table, "handled_at", days, **key, digest=b"", attempts=1),
        _aged(outbox_table, "published_at", days, **event),
        _aged(outbox_table, "updated_at", days, **event, refused="no"),
        _aged(outbox_table, "created_at", days, **event),
        _aged(dead_letters, "redriven_at", days, **letter, event_id=f"e{days}", body_hash=b"redriven"),
        _aged(dead_letters, "created_at", days, **letter, event_id=f"e{days}", body_hash=b"open"),
        _aged(actions, "taken_at", days, **action),
    ]


def test_the_tick_deletes_what_is_over_when_it_is_older_than_it_is_kept_and_nothing_else(relay: Relay) -> None:
    ages = (1, 6, 8, 89, 91, 366, 399, 401, 5000)
    relay.sink.refuses = {f"e{days}": 503 for days in ages}
    with relay.store.begin() as work:
        for days in ages:
            for row in _aged_rows(days):
                connection_of(work).execute(row)
    relay.tick()

    def left(column: sa.Column[Any], *where: sa.ColumnElement[bool]) -> int:
        with relay.store.begin() as work:
            return int(connection_of(work).execute(sa.select(sa.func.count(column)).where(*where)).scalar_one())

    assert left(inbox_table.c.event_id, inbox_table.c.consumer == "c") == len([days for days in ages if days < 7])
    assert left(outbox_table.c.published_at) == len([days for days in ages if days < 7])
    assert left(outbox_table.c.refused) == len([days for days in ages if days < 90])
    assert left(dead_letters.c.redriven_at) == len([days for days in ages if days < 90])
    assert left(actions.c.taken_at) == len([days for days in ages if days < 400])
    assert left(dead_letters.c.id, dead_letters.c.redriven_at.is_(None)) == len(ages), "open letters stay"
    waiting = (outbox_table.c.published_at.is_(None), outbox_table.c.refused.is_(None))
    assert left(outbox_table.c.id, *waiting) == len(ages), "what nobody has taken stays"


def test_a_tick_deletes_more_of_the_inbox_than_comes_between_ticks(relay: Relay) -> None:
    old = sa.text("""
        INSERT INTO inbox (consumer, source, event_id, digest, attempts, updated_at)
        SELECT 'c', '/s', n::text, '', 1, now() - interval '8 days' FROM generate_series(1, 5000) AS n
    """)
    with relay.store.begin() as work:
        connection_of(work).execute(old)
    relay.tick()
    with relay.store.begin() as work:
        assert connection_of(work).execute(sa.select(sa.func.count()).select_from(inbox_table)).scalar_one() == 0


def test_an_event_is_kept_for_as_long_as_the_setting_says(relay: Relay) -> None:
    with relay.store.begin() as work:
        for row in _aged_rows(20):
            connection_of(work).execute(row)
    relay.function = build(relay.store, HttpPublisher(relay.sink.url), Retention(events=timedelta(days=30)))
    relay.tick()
    with relay.store.begin() as work:
        kept = sa.select(sa.func.count()).where(inbox_table.c.consumer == "c")
        assert connection_of(work).execute(kept).scalar_one() == 1


def test_the_tick_deletes_history_that_is_older_than_the_setting_says(relay: Relay) -> None:
    denied = sa.text("""
        INSERT INTO policy_decisions (id, plan_id, workload_id, approved, violations, warnings, determining, facts,
                                      duration_us, created_at)
        SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), false, '[]', '[]', '[]', '{}', 1,
               now() - days * interval '1 day' FROM unnest(ARRAY[59, 61]) AS days
    """)
    with relay.store.begin() as work:
        connection_of(work).execute(denied)
    relay.function = build(relay.store, HttpPublisher(relay.sink.url), Retention(history=timedelta(days=60)))
    relay.tick()
    with relay.store.begin() as work:
        count = sa.select(sa.func.count()).select_from(policy_decisions)
        assert connection_of(work).execute(count).scalar_one() == 1


def test_other_types_are_poison(relay: Relay) -> None:
    assert relay.deliver(relay.function, "dev.sentinel.plan.approved.v1", {}).status == 422
