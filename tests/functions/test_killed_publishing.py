"""kill -9 between the commit and the end of publishing: the relay sends what was not marked, under the same ids."""

import os
import signal
from http.client import HTTPException
from pathlib import Path

import pytest

from shared.eventing.event import WireEvent
from shared.eventing.relay import publish_pending
from shared.store.unit_of_work import Store
from tests.functions.event_relay.test_relay import Sink, sink
from tests.support.builders import SUBMITTED, request, submission
from tests.support.serving import served

pytestmark = pytest.mark.slow

__all__ = ["sink"]


def test_a_function_that_is_killed_while_it_publishes(
    store: Store, database_url: str, sink: Sink, tmp_path: Path
) -> None:
    with served(["workload_intake"], tmp_path, DATABASE_URL=database_url, K_SINK=sink.url) as function:
        sink.meanwhile = lambda: os.kill(function.pid, signal.SIGKILL)
        headers, body = request(SUBMITTED, submission(), subject=None, event_id="e", reply=False)
        with pytest.raises((OSError, HTTPException)):
            function.request("POST", "/", headers, body)
    [(first, _)] = sink.received
    again: list[WireEvent] = []

    class Broker:
        def publish(self, event: WireEvent) -> None:
            again.append(event)

    assert publish_pending(store, Broker(), 10).published == 1
    assert [event.attributes["id"] for event in again] == [first["ce-id"]]
    (tmp_path / "again").mkdir()
    with served(["workload_intake"], tmp_path / "again", DATABASE_URL=database_url, K_SINK=sink.url) as function:
        sink.meanwhile = lambda: None
        status, answered, _ = function.request("POST", "/", headers, body)
    assert (status, answered["ce-id"]) == (200, first["ce-id"])
    assert len(sink.received) == 1
