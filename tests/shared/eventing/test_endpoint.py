"""The HTTP shell of a function, over real HTTP: methods, health, the body cap, defects."""

import http.client
import json
import logging
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import uvicorn
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from shared.errors import StoreUnavailable
from shared.eventing.endpoint import MAX_BODY, FrameworkTarget, Grouped, endpoint
from shared.eventing.processing import HttpAnswer, problem
from shared.observability import JsonFormatter


@dataclass
class Server:
    """An endpoint on a free port; what `process` was given, and what it shall do."""

    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    failure: Exception | None = None
    port: int = 0
    trace_id: str = ""

    def process(self, headers: dict[str, str], body: bytes) -> HttpAnswer:
        self.received.append((headers, body))
        if isinstance(self.failure, StoreUnavailable):
            return problem(self.failure)
        if self.failure is not None:
            raise self.failure
        return HttpAnswer(200, {"ce-id": "answer", "content-type": "application/json"}, b"{}", "handled", self.trace_id)

    def request(
        self, method: str, path: str = "/", body: bytes | Sequence[bytes] = b"", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body; a body in pieces is sent chunked."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            chunked = not isinstance(body, bytes)
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            if chunked:
                named["transfer-encoding"] = "chunked"
            connection.request(method, path, body if chunked else body or None, named, encode_chunked=chunked)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()


@contextmanager
def listening(server: Server, respond: FrameworkTarget) -> Iterator[None]:
    """Serves a target on a free port of this machine, in a thread."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await respond(Request(scope, receive))
        await response(scope, receive, send)

    listener = socket.create_server(("127.0.0.1", 0))
    server.port = listener.getsockname()[1]
    uvicorn_server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    thread = threading.Thread(target=uvicorn_server.run, args=([listener],))
    thread.start()
    try:
        yield
    finally:
        uvicorn_server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    server = Server()
    with listening(server, endpoint(server.process, threads=2)):
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    running.received.clear()
    running.failure = None
    running.trace_id = ""
    return running


@pytest.mark.parametrize("path", ["/", "/any/path", "/?query"])
def test_a_post_to_any_path_is_processed(server: Server, path: str) -> None:
    status, headers, body = server.request("POST", path, b'{"a": 1}', **{"CE-Id": "7", "prefer": "reply"})
    assert (status, headers["ce-id"], body) == (200, "answer", b"{}")
    [(seen, data)] = server.received
    assert (seen["ce-id"], seen["prefer"], data) == ("7", "reply", b'{"a": 1}')


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_are_405(server: Server, method: str) -> None:
    status, headers, body = server.request(method)
    assert (status, headers["allow"], body) == (405, "POST", b"POST a CloudEvent here\n")
    assert server.received == []


def test_health_is_200_and_no_event(server: Server) -> None:
    assert server.request("GET", "/healthz")[0] == 200
    assert server.received == []


@pytest.mark.parametrize(("size", "status"), [(MAX_BODY - 1, 200), (MAX_BODY, 413), (MAX_BODY + 1, 413)])
@pytest.mark.parametrize("pieces", [None, 1, 3])
def test_the_body_cap_is_exact_and_counts_chunks(server: Server, size: int, status: int, pieces: int | None) -> None:
    body = b"x" * size
    third = size // 3
    chunks = [body] if pieces == 1 else [body[:third], body[third : 2 * third], body[2 * third :]]
    answered, _, text = server.request("POST", body=body if pieces is None else chunks)
    assert answered == status
    if status == 413:
        assert text == b'{"error": "the body must be smaller than 1048576 bytes"}'
        assert server.received == []
    else:
        assert server.received[0][1] == body


def test_an_error_with_a_status_is_answered_with_its_reason(server: Server) -> None:
    server.failure = StoreUnavailable("the database is not available: X")
    status, headers, body = server.request("POST")
    assert (status, headers["content-type"]) == (503, "application/json")
    assert body == b'{"error": "the database is not available: X"}'


def test_a_defect_is_500_told_to_the_log_alone(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.failure = RuntimeError("a secret of ours")
    status, _, body = server.request("POST", ce_type="some.type", ce_id="7")
    assert (status, body) == (500, b"internal error\n")
    [record] = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.getMessage() == "some.type 7 failed"
    assert record.exc_info is not None


def test_one_line_an_event(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "sentinel.endpoint"):
        server.request("POST", ce_type="some.type", ce_subject="w-1")
        server.failure = StoreUnavailable("away")
        server.request("POST")
    first, second = [r for r in caplog.records if r.name == "sentinel.endpoint"]
    assert first.getMessage().startswith("some.type w-1 200 handled ")
    assert (first.levelname, second.levelname) == ("INFO", "WARNING")
    assert second.getMessage().startswith("- - 503 refused: away ")


def test_an_event_of_which_there_are_many_has_a_line_for_those_who_look_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    many = Server()
    grouped = Grouped({"some.type"}, lambda requests: [many.process(*one) for one in requests])
    served = listening(many, endpoint(many.process, threads=1, grouped=grouped))
    with caplog.at_level(logging.DEBUG, "sentinel.endpoint"), served:
        many.request("POST", ce_type="some.type")
        many.request("POST", ce_type="other.type")
        many.failure = StoreUnavailable("away")
        many.request("POST", ce_type="some.type")
    assert [r.levelname for r in caplog.records if r.name == "sentinel.endpoint"] == ["DEBUG", "INFO", "WARNING"]


def test_the_line_of_an_event_names_its_trace(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.trace_id = "0af7651916cd43dd8448eb211c80319c"
    with caplog.at_level(logging.INFO, "sentinel.endpoint"):
        server.request("POST", ce_type="some.type", ce_subject="w-1")
    [line] = [r for r in caplog.records if r.name == "sentinel.endpoint"]
    assert line.getMessage().endswith(f" ms trace {server.trace_id}")
    assert json.loads(JsonFormatter().format(line))["trace_id"] == server.trace_id


def test_a_body_that_ends_early_reaches_no_handler(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1024):
            pass
    assert server.request("GET", "/healthz")[0] == 200
    assert server.received == []
