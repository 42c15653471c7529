"""A broker's ingress, as small as the command line needs it: real HTTP, and each test says what becomes of events."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from shared.eventing import codec
from shared.eventing.event import Envelope

Taken = Callable[[dict[str, str], bytes], None]


class Broker(ThreadingHTTPServer):
    """Answers every POST with `status`; what it accepts is in `events`, and handed to `taken` before the answer.

    connections: those that were made to it.
    """

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Ingress)
        self.status = 202
        self.statuses: dict[str, int] = {}
        self.events: list[Envelope] = []
        self.taken: Taken = lambda headers, body: None
        self.connections: list[socket.socket] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/sentinel/default"

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address

    def refuse(self, event_id: str, status: int) -> None:
        """Answers one event with another status."""
        self.statuses[event_id] = status


class _Ingress(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # it keeps connections, as Knative's ingress does
    server: Broker

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        status = self.server.statuses.get(headers["ce-id"], self.server.status)
        if status == 202:
            self.server.events.append(codec.decode(headers, body))
            self.server.taken(headers, body)
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name is the base class's
        """Tests are quiet."""


@contextmanager
def serving(port: int = 0) -> Iterator[Broker]:
    """A broker that takes requests until the block ends. port: 0 is any that is free."""
    with Broker(port) as broker:
        thread = threading.Thread(target=broker.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield broker
        finally:
            broker.shutdown()
            thread.join()
