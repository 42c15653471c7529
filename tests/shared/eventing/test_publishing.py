"""What no reply carries is published right after the commit, in its order; the relay sends what is left."""

import itertools
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import sqlalchemy as sa

from events import CATALOGUE
from shared.errors import ConfigurationError, StoreUnavailable
from shared.eventing.event import Queued, WireEvent
from shared.eventing.processing import HttpAnswer, Processor
from shared.eventing.publishing import HttpPublisher, PublisherAfterCommit, PublishingFailed
from shared.eventing.relay import publish_pending
from shared.store.unit_of_work import Store
from tests.support.brokers import serving
from tests.support.builders import PROPOSED, request, rows
from tests.support.certificates import Authority
from tests.support.emitters import PLAN, rejected, tells


@dataclass
class Broker:
    """A sink that takes everything but the positions that it fails at, counted over all requests."""

    fails: dict[int, PublishingFailed] = field(default_factory=dict)
    received: list[WireEvent] = field(default_factory=list)
    asked: int = 0

    def publish(self, event: WireEvent) -> None:
        self.asked += 1
        if (failure := self.fails.get(self.asked)) is not None:
            raise failure
        self.received.append(event)

    @property
    def names(self) -> list[str]:
        return [event.attributes["subject"] for event in self.received]


AWAY = PublishingFailed("away", permanent=False, answered=False)
LATER = PublishingFailed("503", permanent=False)
REFUSED = PublishingFailed("too large", permanent=True)
THREE = [rejected(subject=name) for name in "abc"]
_ids = itertools.count()


def handle(store: Store, publisher: PublisherAfterCommit, *, event_id: str = "", reply: bool = True) -> HttpAnswer:
    processor = Processor(tells(*THREE), store, CATALOGUE, "/x", publisher)
    return processor.process(*request(PROPOSED, PLAN, event_id=event_id or f"p{next(_ids)}", reply=reply))


def unpublished(engine: sa.Engine) -> list[str]:
    return sorted(row["attributes"]["subject"] for row in rows(engine, "outbox") if row["published_at"] is None)


@pytest.mark.parametrize(("reply", "expected"), [(True, ["b", "c"]), (False, ["a", "b", "c"])])
def test_it_is_published_in_its_order_before_the_answer(
    store: Store, owner_engine: sa.Engine, reply: bool, expected: list[str]
) -> None:
    broker = Broker()
    assert handle(store, PublisherAfterCommit(store, broker), reply=reply).status == 200
    assert broker.names == expected
    assert unpublished(owner_engine) == []
    assert publish_pending(store, broker, 10).published == 0


def test_a_duplicate_publishes_nothing_again(store: Store) -> None:
    broker = Broker()
    publisher = PublisherAfterCommit(store, broker)
    first, second = (handle(store, publisher, event_id="e") for _ in range(2))
    assert (first.status, first.body) == (second.status, second.body)
    assert broker.names == ["b", "c"]


def test_a_broker_that_is_away_fails_no_event_and_is_left_alone_for_a_while(
    store: Store, owner_engine: sa.Engine
) -> None:
    now = [100.0]
    broker = Broker({1: AWAY})
    publisher = PublisherAfterCommit(store, broker, pause=5.0, clock=lambda: now[0])
    assert handle(store, publisher).status == 200
    assert (broker.asked, unpublished(owner_engine)) == (1, ["b", "c"])
    assert handle(store, publisher).status == 200
    assert broker.asked == 1
    now[0] += 5.0
    assert handle(store, publisher).status == 200
    assert broker.names == ["b", "c"]
    assert publish_pending(store, broker, 10).published == 4
    assert unpublished(owner_engine) == []


def test_what_follows_a_failure_waits_so_that_the_order_is_kept(store: Store, owner_engine: sa.Engine) -> None:
    broker = Broker({2: AWAY})
    handle(store, PublisherAfterCommit(store, broker), reply=False)
    assert (broker.names, unpublished(owner_engine)) == (["a"], ["b", "c"])
    publish_pending(store, broker, 10)
    assert broker.names == ["a", "b", "c"]


def test_a_slow_broker_costs_an_event_no_more_than_the_budget(store: Store, owner_engine: sa.Engine) -> None:
    now = [0.0]

    class Slow(Broker):
        def publish(self, event: WireEvent) -> None:
            now[0] += 1.5
            super().publish(event)

    broker = Slow()
    handle(store, PublisherAfterCommit(store, broker, budget=2.0, clock=lambda: now[0]), reply=False)
    assert (broker.names, unpublished(owner_engine)) == (["a", "b"], ["c"])


def test_an_event_that_is_refused_is_the_relays_and_holds_up_no_other(store: Store, owner_engine: sa.Engine) -> None:
    broker = Broker({1: REFUSED, 3: REFUSED})
    handle(store, PublisherAfterCommit(store, broker))
    assert (broker.names, unpublished(owner_engine)) == (["c"], ["b"])
    assert [refused.reason for refused in publish_pending(store, broker, 10).refused] == ["too large"]


def test_an_event_that_is_not_taken_now_is_the_relays_and_holds_up_no_other(
    store: Store, owner_engine: sa.Engine
) -> None:
    broker = Broker({1: LATER})
    publisher = PublisherAfterCommit(store, broker)
    handle(store, publisher)
    assert (broker.names, unpublished(owner_engine)) == (["c"], ["b"])
    handle(store, publisher)
    assert broker.names == ["c", "b", "c"]


def test_a_mark_that_cannot_be_made_fails_no_event(store: Store, owner_engine: sa.Engine) -> None:
    class Forgetful(Store):
        def mark_published(self, rows: Sequence[Queued]) -> None:
            raise StoreUnavailable("gone")

    broker = Broker()
    publisher = PublisherAfterCommit(Forgetful(store._engine), broker)
    assert handle(store, publisher).status == 200
    assert unpublished(owner_engine) == ["b", "c"]
    publish_pending(store, broker, 10)
    ids = [event.attributes["id"] for event in broker.received]
    assert ids[:2] == ids[2:]


EVENT = WireEvent({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}, b"")


@dataclass
class AuthenticatingSink:
    """A broker's ingress over TLS that knows one token. authorities: PEM."""

    url: str
    authorities: str
    known: str = "first"


@pytest.fixture
def authenticating(tmp_path: Path) -> Iterator[AuthenticatingSink]:
    authority = Authority()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(202 if self.headers["authorization"] == f"Bearer {sink.known}" else 401)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.socket = authority.server_context(tmp_path).wrap_socket(server.socket, server_side=True)
    sink = AuthenticatingSink(f"https://127.0.0.1:{server.server_address[1]}/", authority.certificate.decode())
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield sink
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_sender_shows_the_newest_token_of_its_sink_binding(
    authenticating: AuthenticatingSink, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    publisher = HttpPublisher(authenticating.url, token=token, authorities=authenticating.authorities)
    token.write_text("first\n")
    publisher.publish(EVENT)
    authenticating.known = "second"
    token.write_text("second")
    publisher.publish(EVENT)


@pytest.mark.parametrize("token", [None, "other"])
def test_a_sender_that_the_sink_does_not_know_tries_again_later(
    authenticating: AuthenticatingSink, tmp_path: Path, token: str | None
) -> None:
    if token is not None:
        (tmp_path / "token").write_text(token)
    publisher = HttpPublisher(authenticating.url, token=tmp_path / "token", authorities=authenticating.authorities)
    with pytest.raises(PublishingFailed, match="401") as failure:
        publisher.publish(EVENT)
    assert (failure.value.permanent, failure.value.answered) == (False, True)


def test_a_sink_of_an_unknown_authority_is_not_believed(authenticating: AuthenticatingSink) -> None:
    with pytest.raises(PublishingFailed, match="no answer"):
        HttpPublisher(authenticating.url).publish(EVENT)


def test_an_answer_is_final_only_when_it_is_about_the_event() -> None:
    """A wrong address, a missing token or a broker that is not there yet is mended later."""

    def failure(publisher: HttpPublisher) -> PublishingFailed:
        with pytest.raises(PublishingFailed) as found:
            publisher.publish(EVENT)
        return found.value

    final = []
    with serving() as broker:
        publisher = HttpPublisher(broker.url)
        for status in (302, 400, 401, 403, 404, 405, 407, 408, 409, 410, 413, 415, 421, 422, 429, 431, 500, 502, 503):
            broker.status = status
            failed = failure(publisher)
            assert failed.answered
            final += [status] if failed.permanent else []
        publisher.close()
    assert final == [400, 413, 415, 422, 431]


def test_a_broker_is_told_the_trace_of_an_event_as_http_wants_it() -> None:
    traced = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"}
    seen: list[dict[str, str]] = []
    with serving() as broker:
        broker.taken = lambda headers, _: seen.append(headers)
        publisher = HttpPublisher(broker.url)
        publisher.publish(EVENT)
        publisher.publish(WireEvent({**EVENT.attributes, **traced}, b""))
        publisher.close()
    assert not traced.keys() & seen[0].keys()
    assert traced.items() <= seen[1].items()
    assert {f"ce-{name}": value for name, value in traced.items()}.items() <= seen[1].items()


def test_a_connection_is_kept_until_the_sink_ends_it() -> None:
    with serving() as broker:
        publisher = HttpPublisher(broker.url)
        for _ in range(2):
            publisher.publish(EVENT)
        assert len(broker.connections) == 1
        broker.connections[0].shutdown(socket.SHUT_RDWR)
        publisher.publish(EVENT)
        assert len(broker.connections) == 2
        publisher.close()


@pytest.mark.parametrize("sink", ["", "kafka:9092", "ftp://sink/", "http://", "http://sink:port/", "http://[::1/"])
def test_a_sink_that_is_no_http_address_is_a_mistake_of_the_configuration(sink: str) -> None:
    with pytest.raises(ConfigurationError, match="the sink must be"):
        HttpPublisher(sink)
