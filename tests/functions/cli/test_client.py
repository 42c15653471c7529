"""The client of the REST face: against the API, and against servers that go away or are not Sentinel."""

import socket
import ssl
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from functions.api.session import Services
from functions.cli.client import Client, Server
from functions.cli.credentials import GivenToken
from functions.cli.errors import ProblemAnswer, ServerAway
from shared.errors import ConfigurationError, StoreUnavailable
from shared.models.identity import Principal
from shared.store.unit_of_work import Store, UnitOfWork
from tests.functions.cli.conftest import Api
from tests.support.builders import Deliver, id_of
from tests.support.certificates import Authority

ABSENT = f"/workloads/{uuid.UUID(int=7)}"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}"


class Asking(Protocol):
    def __call__(self, url: str, token: str | None = "admin", authority: Path | None = None) -> Client: ...


@pytest.fixture
def asking() -> Iterator[Asking]:
    """Clients of servers by their address."""
    with ExitStack() as stack:

        def asking(url: str, token: str | None = "admin", authority: Path | None = None) -> Client:
            credentials = GivenToken(token, "get another token")
            client = Client(Server("there", url, credentials, str(authority) if authority else None))
            stack.callback(client.close)
            return client

        yield asking


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the client would have waited."""
    waited: list[float] = []
    monkeypatch.setattr("functions.cli.client.time.sleep", waited.append)
    return waited


@contextmanager
def answering(*answers: bytes, tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers one request a connection, the last answer again and again; and what it was sent."""
    received: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            try:
                with tls.wrap_socket(raw, server_side=True) if tls else raw as connection:
                    request = connection.recv(65536)
                    if request:
                        received.append(request)
                        connection.sendall(answers[min(len(received), len(answers)) - 1])
            except OSError:
                pass  # a client that does not trust the certificate hangs up

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}", received
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def test_a_read_gives_the_object_and_the_time_of_the_server(
    asking: Asking, api: Api, deliver: Deliver, store: Store
) -> None:
    deliver.submit()
    answer = asking(api.url).get(f"/workloads/{id_of()}")
    assert answer.document["name"] == "test-inference"
    with store.read() as work:
        assert abs((answer.now - work.now).total_seconds()) < 60


def test_one_connection_serves_several_reads(asking: Asking, api: Api, deliver: Deliver) -> None:
    deliver.submit()
    asked = asking(f"http://anything.localhost:{api.port}/")
    asked.get(f"/workloads/{id_of()}")
    connection = asked._connection
    assert asked.get(f"/workloads/{id_of()}").status == 200
    assert asked._connection is connection is not None


@pytest.mark.parametrize(
    ("path", "token", "kind", "said"),
    [
        (ABSENT, "admin", "not-found", f"there is no workload {ABSENT[11:]}"),
        ("/workloads/12", "admin", "invalid", "workload_id: "),
        (f"{ABSENT}?a=1&b=2", "admin", "bad-request", "a: is unknown; this route takes none\nb: is unknown; this"),
        (ABSENT, "eve", "unauthenticated", "there: the token does not count: get another token"),
        (ABSENT, None, "unauthenticated", "there: send `Authorization: Bearer <token>`; POST"),
    ],
)
def test_a_problem_is_a_line_for_each_bad_field(
    asking: Asking, api: Api, store: Store, path: str, token: str | None, kind: str, said: str
) -> None:
    with pytest.raises(ProblemAnswer) as problem:
        asking(api.url, token).get(path)
    assert problem.value.kind == kind
    assert str(problem.value).startswith(said)


def test_a_read_waits_as_long_as_an_unavailable_server_asks_and_then_says_so(
    asking: Asking, api: Api, store: Store, pauses: list[float]
) -> None:
    attempts: list[str] = []

    def away(work: UnitOfWork, token: str) -> Principal:
        attempts.append(token)
        raise StoreUnavailable("the database is not available")

    api.app.state.services = Services(store, away)
    with pytest.raises(ProblemAnswer, match=r"the database is not available"):
        asking(api.url).get(ABSENT)
    assert (pauses, len(attempts)) == ([2.0, 2.0], 3)
    with pytest.raises(ProblemAnswer):
        asking(api.url).send("DELETE", ABSENT)


def test_a_read_is_tried_again_when_the_connection_breaks_and_a_write_is_not(
    asking: Asking, pauses: list[float]
) -> None:
    with answering(b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", OK) as (url, received):
        assert asking(url).get("/x").document == {}
        assert (len(received), pauses) == (3, [0.2, 1.0])
    with answering(b"") as (url, received):
        with pytest.raises(ServerAway, match=r"^there: broke the connection off$"):
            asking(url).send("POST", "/x", {"a": 1})
        assert len(received) == 1


def test_a_server_that_is_not_there_is_said_in_one_line(asking: Asking, pauses: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ServerAway, match=r"^there: connection refused; is the server running\?$"):
        asking(f"http://127.0.0.1:{port}").get("/x")
    assert len(pauses) == 2
    with pytest.raises(ServerAway, match=r"^there: its name is not known: "):
        asking("https://sentinel.invalid").get("/x")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 302 Found\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n", "answers 302, and not as"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>", "answers 200 with what is not JSON; check the address"),
        (b"HTTP/1.1 502 Bad\r\ncontent-length: 2\r\n\r\n{}", "answers 502, and not as Sentinel does; check the"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not speak HTTP: "),
    ],
)
def test_what_is_not_sentinel_is_named_and_a_redirect_is_not_followed(
    asking: Asking, pauses: list[float], answer: bytes, said: str
) -> None:
    with answering(answer) as (url, _), pytest.raises(ServerAway, match=f"^there: {said}"):
        asking(url).get("/x")


def test_a_certificate_is_checked_against_the_authority_that_was_named(
    asking: Asking, tmp_path: Path, pauses: list[float]
) -> None:
    authority, file = Authority(), tmp_path / "ca.pem"
    file.write_bytes(authority.certificate)
    with answering(OK, tls=authority.server_context(tmp_path)) as (url, received):
        assert asking(url, authority=file).get("/x").status == 200
        with pytest.raises(ServerAway, match=r"its certificate is not trusted: .*; name the file of its authority"):
            asking(url).send("GET", "/x")
        assert len(received) == 1
        with pytest.raises(ConfigurationError, match=r"no-such: No such file"):
            asking(url, authority=tmp_path / "no-such").send("GET", "/x")
        (tmp_path / "text").write_text("nothing")
        with pytest.raises(ConfigurationError, match=r"text: holds no certificates in PEM"):
            asking(url, authority=tmp_path / "text").send("GET", "/x")
