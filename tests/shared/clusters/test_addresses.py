"""Where an API server may be: judged on the connection itself, before anything is sent on it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shared.clusters.addresses import refusal
from shared.clusters.kubeconfig import Connection
from shared.clusters.transport import Transport
from shared.errors import ClusterAway

LOOPBACKS = ("127.0.0.2", "127.1.2.3", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::")
NEVER = (
    *LOOPBACKS,
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "0.0.0.0",
    "224.0.0.1",
)


@pytest.mark.parametrize("address", NEVER)
@pytest.mark.parametrize("loopback", [True, False])
def test_no_api_server_is_at(address: str, loopback: bool) -> None:
    assert refusal(address, loopback=loopback)


@pytest.mark.parametrize("address", ["10.96.0.1", "192.168.49.2", "203.0.113.7", "fd12:3456::1", "2001:db8::1"])
def test_an_api_server_may_be_at(address: str) -> None:
    assert refusal(address, loopback=False) is None


def test_a_laptop_allows_one_loopback_address() -> None:
    assert refusal("127.0.0.1", loopback=True) is None
    assert refusal("127.0.0.1", loopback=False) == "is a loopback address"


@contextmanager
def listening(address: str = "127.0.0.1", answer: bytes = b"") -> Iterator[tuple[int, list[bytes]]]:
    """A server that notes what it is sent and gives one answer; its port and what it was sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    received: list[bytes] = []
    with socket.create_server((address, 0), family=family) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    received.append(client.recv(4096))
                    client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], received
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0.0.0.0"])
def test_no_spelling_of_a_loopback_is_sent_anything(host: str) -> None:
    with listening() as (port, received):
        client = Transport("eu", Connection(f"http://{host}:{port}", token="secret"))
        with pytest.raises(ClusterAway, match=r"is at 127\.0\.0\.1, which is a loopback address"):
            client.get("/api")
    assert not any(received)


def test_a_name_is_judged_by_the_address_that_it_has_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look-up gives a public address, the one of the connection a loopback: DNS rebinding."""
    with listening() as (port, received):
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda host, *rest: real("127.0.0.1" if host == "k.example" else host, *rest)
        )
        with pytest.raises(ClusterAway, match=r"k\.example.* is at 127\.0\.0\.1"):
            Transport("eu", Connection(f"http://k.example:{port}", token="secret")).get("/api")
    assert not any(received)


def test_a_redirect_is_not_followed() -> None:
    with listening() as (target, reached):
        moved = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{target}/\r\nContent-Length: 0\r\n\r\n".encode()
        with listening(answer=moved) as (port, _):
            answer = Transport("eu", Connection(f"http://127.0.0.1:{port}", token="s"), loopback=True).get("/api")
    assert (answer.status, reached) == (302, [])
