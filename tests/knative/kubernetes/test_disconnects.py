"""A client may go away at any moment. The stand-in logs nothing then, frees the connection, and serves the others."""

import json
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.contracts.kubernetes_api.api import Api, Home, config_map
from tests.support.processes import unmeasured

pytestmark = pytest.mark.slow

_SECONDS = 20.0
_COLLECTION = "/api/v1/namespaces/default/configmaps"


@dataclass
class Server:
    """A stand-in of this test alone, with what it writes to its standard error."""

    api: Api
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def port(self) -> int:
        return int(self.api.server.rpartition(":")[2])

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=_SECONDS)

    def open(self) -> ssl.SSLSocket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(self.connect())

    def head(self, method: str, path: str, *headers: str) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {self.api.token}", *headers]
        return "\r\n".join([*lines, "", ""]).encode()

    def connections(self) -> int:
        found = psutil.Process(self.process.pid).net_connections("tcp")
        return sum(each.status != psutil.CONN_LISTEN for each in found)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    state = tmp_path_factory.mktemp("disconnects")
    log = state / "stderr"
    command = [sys.executable, "-m", "knative.local.kubernetes", "--state", str(state), "--nodes", "none"]
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=unmeasured()) as process,
    ):
        assert process.stdout is not None
        api = Api(Path(json.loads(process.stdout.readline())["kubeconfig"]))
        home = Home(api, "default")
        for index in range(30):  # a list of about 3 MB, which no socket's buffer takes
            home.create("configmaps", config_map(f"large-{index}") | {"data": {"text": "x" * 100_000}})
        yield Server(api, process, log)
        process.terminate()


def _nothing(server: Server) -> socket.socket:
    return server.connect()


def _half_a_handshake(server: Server) -> socket.socket:
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    connection = server.connect()
    connection.sendall(hello[: len(hello) // 2])
    return connection


def _http_without_tls(server: Server) -> socket.socket:
    connection = server.connect()
    connection.sendall(server.head("GET", _COLLECTION))
    return connection


def _a_handshake_alone(server: Server) -> socket.socket:
    return server.open()


def _half_a_head(server: Server) -> socket.socket:
    connection = server.open()
    connection.sendall(server.head("GET", _COLLECTION)[:40])
    return connection


def _half_a_body(server: Server) -> socket.socket:
    connection = server.open()
    connection.sendall(server.head("POST", _COLLECTION, "Content-Length: 1000") + b'{"kind": "Con')
    return connection


def _half_a_chunk(server: Server) -> socket.socket:
    connection = server.open()
    connection.sendall(server.head("POST", _COLLECTION, "Transfer-Encoding: chunked") + b"ff\r\n" + b"x" * 10)
    return connection


def _half_a_response(server: Server) -> socket.socket:
    connection = server.open()
    connection.sendall(server.head("GET", _COLLECTION))
    assert connection.recv(12) == b"HTTP/1.1 200"
    return connection


def _half_a_watch(server: Server) -> socket.socket:
    connection = server.open()
    connection.sendall(server.head("GET", f"{_COLLECTION}?watch=1"))
    assert connection.recv(12) == b"HTTP/1.1 200"
    return connection


_MOMENTS = [
    _nothing,
    _half_a_handshake,
    _http_without_tls,
    _a_handshake_alone,
    _half_a_head,
    _half_a_body,
    _half_a_chunk,
    _half_a_response,
    _half_a_watch,
]


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("moment", _MOMENTS, ids=lambda moment: moment.__name__.strip("_"))
def test_a_client_that_goes_away_leaves_no_connection_and_no_line_in_the_log(
    server: Server, moment: Callable[[Server], socket.socket], reset: bool
) -> None:
    home = Home(server.api, "default")
    before = server.connections()
    connection = moment(server)
    assert home.get("configmaps", "large-0").code == 200  # the request that was cut short is being served
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    home.merge("configmaps", "large-0", {"metadata": {"labels": {"changed": str(time.monotonic_ns())}}})
    deadline = time.monotonic() + _SECONDS
    while server.connections() > max(before, 1):  # one is the suite's own
        assert time.monotonic() < deadline, "the connection is still open"
        time.sleep(0.02)
    assert server.log.read_text() == ""


@pytest.mark.parametrize("malformed", ["body", "head"])
def test_a_malformed_request_is_refused_and_not_logged(server: Server, malformed: str) -> None:
    request = server.head("POST", _COLLECTION, "Transfer-Encoding: chunked") + b"no length\r\n"
    with server.open() as connection:
        connection.sendall(request if malformed == "body" else b"HELLO\r\n\r\n")
        assert connection.recv(12)[9:] == b"400"
    assert server.log.read_text() == ""
