"""Publishing to a sink, over real HTTP."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from shared.eventing.event import WireEvent
from shared.eventing.publishing import HttpPublisher, PublishingFailed

EVENT = WireEvent(
    {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "datacontenttype": "application/json"}, b'{"a":1}'
)


class Sink(ThreadingHTTPServer):
    """Answers every POST with `status`, and keeps what came."""

    status = 202

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/sentinel/default"


class _Handler(BaseHTTPRequestHandler):
    server: Sink
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append(({k.lower(): v for k, v in self.headers.items()}, body))
        reason = b"because" if self.server.status >= 300 else b""
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(reason)))
        self.send_header("location", "/elsewhere")
        self.end_headers()
        self.wfile.write(reason)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def sink() -> Iterator[Sink]:
    server = Sink()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_event_arrives_in_binary_mode(sink: Sink) -> None:
    HttpPublisher(sink.url).publish(EVENT)
    [(headers, body)] = sink.received
    assert body == EVENT.body
    expected = {"ce-id": "1", "ce-source": "/s", "ce-type": "t", "content-type": "application/json"}
    assert expected.items() <= headers.items()


@pytest.mark.parametrize(
    ("status", "permanent"),
    [(303, False), (400, True), (404, False), (408, False), (409, False), (413, True), (429, False), (503, False)],
)
def test_a_sink_that_says_no(sink: Sink, status: int, permanent: bool) -> None:
    sink.status = status
    with pytest.raises(PublishingFailed, match=f"answered {status} because") as failed:
        HttpPublisher(sink.url).publish(EVENT)
    assert failed.value.permanent is permanent
    assert len(sink.received) == 1


def test_a_sink_that_is_away_is_not_permanent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(PublishingFailed, match="no answer from") as failed:
        HttpPublisher(f"http://127.0.0.1:{port}/").publish(EVENT)
    assert failed.value.permanent is False
