"""HTTP to an API server: what is sent, and what becomes of a server that does not answer as it should."""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
import yaml
from hypothesis import given
from hypothesis import strategies as st

from shared.clusters import transport
from shared.clusters.kubeconfig import Connection
from shared.clusters.kubernetes import KubernetesDriver
from shared.clusters.transport import Transport, as_yaml
from shared.errors import ClusterAway, ClusterUnavailable
from tests.support.api_servers import ScriptedServer, scripted_server


def test_a_get_asks_for_json_as_sentinel(server: ScriptedServer) -> None:
    server.will(200, {"kind": "x"})
    answer = Transport("eu", Connection(server.url, token="secret"), loopback=True).get(
        "/api", labelSelector="a=b,c in (d)"
    )
    assert (answer.ok, answer.body) == (True, {"kind": "x"})
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("GET", "/api?labelSelector=a%3Db%2Cc%20in%20%28d%29")
    assert asked.headers["Accept"] == "application/json"
    assert asked.headers["User-Agent"] == "sentinel"
    assert asked.headers["Authorization"] == "Bearer secret"


def test_without_a_token_none_is_sent(server: ScriptedServer) -> None:
    server.will(200, {})
    Transport("eu", Connection(server.url), loopback=True).get("/api")
    assert "Authorization" not in server.asked[0].headers


def test_writes_carry_their_bodies_and_types(server: ScriptedServer) -> None:
    server.will(200, {})
    client = Transport("eu", Connection(server.url), loopback=True)
    client.post("/a", {"x": 1}, fieldManager="m")
    client.apply("/a", {"x": "é"}, force="true")
    client.delete("/a", {"kind": "DeleteOptions"})
    sent = [(a.method, a.path, a.headers["Content-Type"], a.body) for a in server.asked]
    assert sent == [
        ("POST", "/a?fieldManager=m", "application/json", {"x": 1}),
        ("PATCH", "/a?force=true", "application/apply-patch+yaml", {"x": "é"}),
        ("DELETE", "/a", "application/json", {"kind": "DeleteOptions"}),
    ]


@given(st.dictionaries(st.text(max_size=5), st.text(), max_size=3))
def test_what_is_applied_is_json_and_yaml_alike(document: dict[str, str]) -> None:
    sent = as_yaml(document)
    assert json.loads(sent) == document
    assert yaml.safe_load(sent) == document


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ClusterUnavailable, match=r"cluster eu: GET /api: .*refused"):
            Transport("eu", Connection(url), loopback=True).get("/api")


def test_a_server_that_never_answers_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "READ_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ClusterUnavailable, match="timed out"):
            Transport("eu", Connection(url), loopback=True).get("/api")


def test_an_answer_that_comes_in_drops_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "READ_SECONDS", 0.2)
    stop = threading.Event()

    def drip(silent: socket.socket) -> None:
        connection, _ = silent.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not stop.wait(0.01):
                connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:
        thread.submit(drip, server)
        with pytest.raises(ClusterAway, match="timed out"):
            Transport("eu", Connection(f"http://127.0.0.1:{server.getsockname()[1]}"), loopback=True).get("/api")
        stop.set()


def test_no_request_is_made_for_a_task_that_is_over(server: ScriptedServer) -> None:
    with pytest.raises(ClusterUnavailable, match="no time was left") as raised:
        Transport("eu", Connection(server.url), loopback=True).within(0).get("/api")
    with pytest.raises(ClusterUnavailable, match="the lease of this execution has ended"):
        Transport("eu", Connection(server.url), loopback=True).within(60, lambda: False).get("/api")
    assert not isinstance(raised.value, ClusterAway)
    assert server.asked == []


def test_few_requests_wait_for_one_server(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "AT_ONCE", 1)
    monkeypatch.setattr(transport, "SLOT_SECONDS", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(1) as thread:
        client = Transport("eu", Connection(f"http://127.0.0.1:{silent.getsockname()[1]}"), loopback=True)
        waiting = thread.submit(client.get, "/api")
        connection, _ = silent.accept()
        with connection, pytest.raises(ClusterUnavailable, match="1 requests wait for an answer already"):
            client.within(60).get("/api")
        with pytest.raises(ClusterAway):
            waiting.result()


@dataclass(frozen=True)
class Authority:
    """A certificate authority, and one certificate that serves both ends of a connection."""

    ca: str
    certificate: bytes
    key: bytes

    def server_context(self, directory: Path) -> ssl.SSLContext:
        pair = directory / "server.pem"
        pair.write_bytes(self.certificate + self.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair)
        context.load_verify_locations(cadata=self.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def issue() -> Authority:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", common_name="test")
    return Authority(
        authority.cert_pem.bytes().decode(), issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes()
    )


@pytest.fixture(scope="module")
def authority() -> Authority:
    return issue()


@pytest.fixture
def strict(authority: Authority, tmp_path: Path) -> Iterator[ScriptedServer]:
    """A server over TLS that lets in only who shows a certificate."""
    with scripted_server(authority.server_context(tmp_path)) as script:
        yield script.will(200, {"items": []})


def test_a_client_certificate_opens_the_door(strict: ScriptedServer, authority: Authority) -> None:
    connection = Connection(
        strict.url, certificate_authority=authority.ca, client_certificate=authority.certificate + authority.key
    )
    assert KubernetesDriver(Transport("eu", connection, loopback=True)).gpus() == {}


def test_without_verification_any_server_will_do(strict: ScriptedServer, authority: Authority) -> None:
    pair = authority.certificate + authority.key
    with pytest.warns(Warning, match="Unverified HTTPS request"):
        assert (
            Transport("eu", Connection(strict.url, verify=False, client_certificate=pair), loopback=True).get("/api").ok
        )


@pytest.mark.parametrize(
    ("authority_of_server", "pair"),
    [("", None), ("", b"not a certificate"), (None, b""), ("not a certificate", b"")],
    ids=["no certificate", "bad certificate", "unknown authority", "bad authority"],
)
def test_what_tls_refuses_is_unavailable(
    strict: ScriptedServer, authority: Authority, authority_of_server: str | None, pair: bytes | None
) -> None:
    """An empty text stands for the right one."""
    connection = Connection(
        strict.url,
        certificate_authority=authority.ca if authority_of_server == "" else authority_of_server,
        client_certificate=authority.certificate + authority.key if pair == b"" else pair,
    )
    with pytest.raises(ClusterUnavailable, match="cluster eu: GET /api"):
        Transport("eu", connection, loopback=True).get("/api")
    assert not strict.asked
