"""One HTTP/1.1 connection: answers in every form that RFC 9112 allows, in pieces of any size, and what is no HTTP."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.http_connection import HttpConnection, NoHttp

SHORT = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\nX-A: 1\r\nx-a: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nTrailer: t\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it"
CLOSING = b"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 1\r\n\r\n!"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"

Answers = Callable[[socket.socket], None]


@contextmanager
def server(answers: Answers, sent: list[bytes] | None = None, answering: float = 5) -> Iterator[HttpConnection]:
    """A connection to a server that takes one request, answers, and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            received = peer.recv(65536)
            if sent is not None:
                sent.append(received)
            answers(peer)

    thread = threading.Thread(target=serve)
    thread.start()
    connection = HttpConnection("127.0.0.1", listener.getsockname()[1], None, connecting=5, answering=answering)
    try:
        yield connection
    finally:
        connection.close()
        thread.join()
        listener.close()


def pieces(answer: bytes, cuts: list[int]) -> Answers:
    def send(peer: socket.socket) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        edges = sorted({0, len(answer), *(cut % len(answer) for cut in cuts)})
        for start, end in pairwise(edges):
            peer.sendall(answer[start:end])

    return send


@given(
    st.sampled_from(
        [
            (SHORT, 202, b"ok", True),
            (CHUNKED, 200, b"abcdefg", True),
            (INTERIM + INTERIM + SHORT, 202, b"ok", True),
            (ENDLESS, 200, b"all of it", False),
            (CLOSING, 503, b"!", False),
            (EMPTY, 204, b"", True),
        ]
    ),
    st.lists(st.integers(min_value=1), max_size=4),
)
def test_an_answer_is_the_same_in_any_pieces(case: tuple[bytes, int, bytes, bool], cuts: list[int]) -> None:
    answer, status, body, reusable = case
    with server(pieces(answer, cuts)) as connection:
        found = connection.request("GET", "/", {"host": "there"})
        assert (found.status, found.body, connection.reusable) == (status, body, reusable)


def test_header_names_are_lower_case_and_the_last_of_equal_ones_counts() -> None:
    with server(pieces(INTERIM.replace(b"\r\n\r\n", b"\r\nX-B: 1\r\n\r\n") + SHORT, [])) as connection:
        assert connection.request("GET", "/", {"host": "there"}).headers == {"content-length": "2", "x-a": "2"}


def test_a_request_is_written_as_http_wants_it() -> None:
    sent: list[bytes] = []
    with server(pieces(EMPTY, []), sent) as connection:
        connection.request("POST", "/a?b=c", {"host": "there", "x-name": "Zoë"}, b"body")
    assert sent == [
        "POST /a?b=c HTTP/1.1\r\nhost: there\r\nx-name: Zoë\r\ncontent-length: 4\r\n\r\nbody".encode("latin-1")
    ]


@pytest.mark.parametrize(
    ("target", "value"),
    [("/", "a\r\nx-b: c"), ("/", "a\nb"), ("/", "a\0"), ("/", "€"), ("/ HTTP/1.1\r\nx: y", "a"), ("/a b", "a")],
)
def test_no_value_writes_another_header_or_request(target: str, value: str) -> None:
    sent: list[bytes] = []
    with server(lambda _: None, sent) as connection:
        with pytest.raises(NoHttp, match="does not allow"):
            connection.request("GET", target, {"host": "there", "x-a": value})
        connection.close()
    assert sent == [b""]


@pytest.mark.parametrize(
    "answer",
    [b"hello\r\n\r\n", SHORT + SHORT, CHUNKED.replace(b"4;x=y", b"zz"), SHORT.replace(b"X-A", b"X A"), b"\0\1\2"],
)
def test_what_is_no_http_is_told_and_ends_the_connection(answer: bytes) -> None:
    with server(pieces(answer, [])) as connection:
        with pytest.raises(NoHttp):
            connection.request("GET", "/", {"host": "there"})
        assert not connection.reusable


@pytest.mark.parametrize("answer", [b"", INTERIM, SHORT[:30], SHORT[:-1], CHUNKED[:60]])
def test_an_answer_that_breaks_off_is_no_answer(answer: bytes) -> None:
    with server(lambda peer: peer.sendall(answer)) as connection:
        with pytest.raises(ConnectionResetError):
            connection.request("GET", "/", {"host": "there"})
        assert not connection.reusable


def test_a_server_that_says_nothing_is_waited_for_so_long() -> None:
    let_go = threading.Event()

    def say_nothing(_: socket.socket) -> None:
        let_go.wait(5)

    with server(say_nothing, answering=0.05) as connection:
        with pytest.raises(TimeoutError):
            connection.request("GET", "/", {"host": "there"})
        let_go.set()
