"""The stream of events: what the caller may see, in the order of commits, resumable."""

import http.client
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.requests import ClientDisconnect

from functions.api.routes import stream
from shared.errors import StoreUnavailable
from shared.models.identity import Role
from tests.support.builders import Deliver, id_of
from tests.support.rest import Rest


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LOOK_SECONDS", 0.02)


class Events:
    """Reads a stream event by event."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self._answer = answer

    def line(self) -> str:
        return self._answer.readline().decode().rstrip("\n")

    def next(self) -> dict[str, Any]:
        """The next event: id, event, data. Comments are passed over."""
        found: dict[str, Any] = {}
        while True:
            line = self._answer.readline().decode()
            assert line, "the stream has ended"
            name, _, value = line.rstrip("\n").partition(": ")
            if line == "\n" and found:
                return {**found, "data": json.loads(found["data"])}
            if name in ("id", "event", "data"):
                found[name] = value


@contextmanager
def opened(rest: Rest, user: str, query: str = "", last: str | None = None) -> Iterator[Events]:
    connection = http.client.HTTPConnection("127.0.0.1", rest.port, timeout=10)
    headers = {"authorization": f"Bearer {user}"} | ({} if last is None else {"last-event-id": last})
    connection.request("GET", f"/api/v1/events/stream{query}", headers=headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    answer.readline()
    try:
        yield Events(answer)
    finally:
        connection.close()


def test_each_sees_their_teams_and_goes_on_where_they_were(rest: Rest, deliver: Deliver) -> None:
    rest.bind("ada", Role.VIEWER, "search")
    deliver.submit("before")
    with opened(rest, "ada") as ada, opened(rest, "admin") as admin:
        deliver.submit("bid", team="ads", namespace="ads")
        deliver.submit("chat")
        first = ada.next()
        assert (first["event"], first["data"]["workload"], first["data"]["team"]) == (
            "plan.proposed",
            str(id_of("chat")),
            "search",
        )
        assert [admin.next()["data"]["team"] for _ in range(2)] == ["ads", "search"]
    deliver.submit("later")
    with opened(rest, "ada", last=first["id"]) as ada:
        assert ada.next()["data"]["workload"] == str(id_of("later"))


def test_a_stream_goes_on_after_the_database_was_away(
    rest: Rest, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, outage = stream._look, iter(range(3))

    def away_at_first(*given: Any) -> Any:
        if next(outage, None) is not None:
            raise StoreUnavailable("the database is away")
        return look(*given)

    monkeypatch.setattr(stream, "_look", away_at_first)
    with opened(rest, "admin") as events:
        deliver.submit("chat")
        assert events.next()["data"]["workload"] == str(id_of("chat"))
    assert next(outage, None) is None


def test_a_silent_stream_shows_that_it_is_alive(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.0)
    with opened(rest, "admin") as events:
        assert events.line() == ""
        assert events.line() == ": still here"


def test_a_stream_of_a_team_that_is_not_theirs_stays_silent(rest: Rest, deliver: Deliver) -> None:
    rest.bind("ada", Role.VIEWER, "search")
    with opened(rest, "ada", "?team=ads", last="0-0-0-0") as ada:
        deliver.submit("bid", team="ads", namespace="ads")
        rest.principals.pop("ada")
        assert ada.next()["event"] == "end"


def test_who_is_disabled_is_told_so_and_the_stream_ends(rest: Rest, deliver: Deliver) -> None:
    rest.bind("ada", Role.VIEWER, "search")
    with opened(rest, "ada") as ada:
        del rest.principals["ada"]
        assert ada.next()["event"] == "end"


def test_so_many_streams_and_no_more(
    rest: Rest, application: tuple[FastAPI, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_places", threading.BoundedSemaphore(1))
    with opened(rest, "admin"):
        assert rest("GET", "/events/stream").status == 429


async def test_a_client_that_has_gone_before_its_stream_began_leaves_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    places = threading.BoundedSemaphore(1)
    monkeypatch.setattr(stream, "_places", places)
    assert places.acquire(blocking=False)

    async def events() -> AsyncIterator[str]:
        yield "never read"

    async def gone(_: object = None) -> Any:
        raise OSError("the client has gone")

    with pytest.raises(ClientDisconnect):
        await stream.EventStream(events())({"type": "http", "asgi": {"spec_version": "2.4"}}, gone, gone)
    assert places.acquire(blocking=False)


@pytest.mark.parametrize(("headers", "status"), [({"last_event_id": "x"}, 400), ({"last_event_id": "1-9" * 30}, 400)])
def test_an_id_that_no_event_has_is_refused(rest: Rest, headers: dict[str, str], status: int) -> None:
    assert rest("GET", "/events/stream", **headers).status == status
    rest.bind("nobody", Role.AUDITOR, "ads")
    assert rest("GET", "/events/stream", user="stranger").status == 401
