"""Functions as processes: the inherited socket, $PORT, functions-framework's own command, SIGTERM, mistakes."""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import uvicorn

from functions import serve
from knative.local.broker import addressables
from shared import processes
from shared.errors import ConfigurationError
from shared.eventing.endpoint import MAX_BODY
from shared.store.unit_of_work import Store
from tests.support.builders import PROPOSED, SUBMITTED, request, rows, submission
from tests.support.serving import ROOT, Served, environment, served

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def module_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def intake(module_directory: Path, postgres: object) -> Iterator[Served]:
    url = getattr(postgres, "url")  # noqa: B009 - the fixture's type is the server's
    with served(["workload_intake"], module_directory, DATABASE_URL=url) as running:
        yield running


def post(function: Served, name: str = "over-http", **headers: str) -> tuple[int, dict[str, str], bytes]:
    made, body = request(SUBMITTED, submission(name), subject=None)
    return function.request("POST", "/", made | headers, body)


def test_a_submission_is_answered_with_its_plan(intake: Served, store: Store, owner_engine: sa.Engine) -> None:
    status, headers, body = post(intake)
    assert (status, headers["ce-type"], headers["content-type"]) == (200, PROPOSED, "application/json")
    assert json.loads(body)["decisions"] == [{"verb": "deploy", "cluster": "local", "replicas": 2, "revision": None}]
    assert [row["name"] for row in rows(owner_engine, "workloads")] == ["over-http"]


def test_health_methods_and_the_body_cap(intake: Served) -> None:
    assert intake.request("GET", "/healthz")[0] == 200
    assert intake.request("GET", "/")[0] == 405
    headers, _ = request(SUBMITTED, b"{}")
    assert intake.request("POST", "/", headers, b"x" * MAX_BODY)[0] == 413


def test_a_client_that_expects_100_continue_gets_it_before_it_sends_the_body(intake: Served) -> None:
    headers, body = request("com.example.unknown", {})
    lines = [f"{name}: {value}" for name, value in {**headers, "content-length": str(len(body))}.items()]
    with socket.create_connection(("127.0.0.1", intake.port), timeout=30) as client:
        client.sendall("\r\n".join(["POST / HTTP/1.1", "Host: x", "Expect: 100-continue", *lines, "", ""]).encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 100 ")
        client.sendall(body)
        assert client.recv(4096).startswith(b"HTTP/1.1 422 ")


def test_no_secret_is_logged_whatever_is_wrong(intake: Served, store: Store, owner_engine: sa.Engine) -> None:
    secret = "hunter2-very-secret"
    made, body = request(SUBMITTED, submission("secretive", env={"TOKEN": secret}, replicas=-1), subject=None)
    assert intake.request("POST", "/", made, body)[0] == 200
    made, body = request(SUBMITTED, submission("secretive", env={"TOKEN": secret}), subject=None)
    with owner_engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE workloads ADD CONSTRAINT broken CHECK (name <> 'secretive')"))
    try:
        assert intake.request("POST", "/", made, body)[::2] == (500, b"internal error\n")
    finally:
        with owner_engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE workloads DROP CONSTRAINT broken"))
    text = intake.output.read_text()
    assert "Traceback" in text
    assert secret not in text


def test_sigterm_ends_it_and_a_missing_parent_too(tmp_path: Path, database_url: str) -> None:
    with served(["workload_intake"], tmp_path, DATABASE_URL=database_url, LOG_FORMAT="json") as running:
        assert running.request("GET", "/healthz")[0] == 200
        assert running.request("POST")[0] == 400
        assert running.terminate() in (0, -15)
    [entry] = [json.loads(line) for line in running.output.read_text().splitlines()]
    assert (entry["level"], entry["logger"]) == ("warning", "sentinel.endpoint")
    gone = environment(DATABASE_URL=database_url, SENTINEL_PARENT_PID="1")
    command = [sys.executable, "-m", "functions.serve", "workload_intake"]
    assert subprocess.run(command, env=gone, timeout=30, check=False, cwd="/").returncode == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-m", "functions.serve", "policy_evaluation"],
        [
            str(Path(sys.executable).with_name("functions-framework")),
            *("--source", str(ROOT / "functions/workload_intake/main.py"), "--target", "handle", "--port", "{port}"),
        ],
    ],
    ids=["PORT", "functions-framework"],
)
def test_it_listens_on_a_port(command: list[str], tmp_path: Path, database_url: str) -> None:
    port = free_port()
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(
            [part.format(port=port) for part in command],
            env=environment(DATABASE_URL=database_url, PORT=str(port)),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    function = Served(process.pid, port, tmp_path / "output")
    try:
        wait_until_listening(process, port)
        assert function.request("GET", "/healthz")[0] == 200
        status, _, body = function.request("POST", "/", *request("com.example.unknown", {}))
        assert status == 422, function.output.read_text()
        assert b"unknown event type" in body
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            continue
        return
    pytest.fail(f"the function exited with {process.returncode}")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "workload_intake cannot start: set DATABASE_URL to the URL of the PostgreSQL database"),
        ({"DATABASE_URL": "mysql://u:hunter2@h/d"}, "DATABASE_URL must start with postgresql://"),
        ({"DATABASE_URL": "postgresql://h/d", "LOG_FORMAT": "xml"}, "LOG_FORMAT must be text or json, not 'xml'"),
        ({"DATABASE_URL": "postgresql://h/d", "PORT": "http"}, "PORT must be a port number, not 'http'"),
        ({"DATABASE_URL": "postgresql://h/d", "PORT": "{taken}"}, "workload_intake cannot start: "),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(variables: dict[str, str], expected: str) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        filled = {name: value.format(taken=taken.getsockname()[1]) for name, value in variables.items()}
        done = subprocess.run(
            [sys.executable, "-m", "functions.serve", "workload_intake"],
            env={k: v for k, v in environment(**filled).items() if k != "DATABASE_URL" or k in variables},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert expected in done.stderr
    assert "hunter2" not in done.stderr


def test_every_function_but_the_command_line_can_be_served() -> None:
    assert {"workload_intake", "policy_evaluation", "event_relay", "dead_letter"} <= set(serve.names())
    assert "cli" not in serve.names()


def test_a_port_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LISTEN_FDS", raising=False)
    monkeypatch.setenv("PORT", "70000")
    with pytest.raises(ConfigurationError, match="PORT must be a port number, not '70000'"):
        serve.listening_socket()


@pytest.mark.parametrize("inherited", [True, False], ids=["inherited", "PORT"])
def test_an_answer_is_sent_at_once_however_it_is_written(monkeypatch: pytest.MonkeyPatch, inherited: bool) -> None:
    """Otherwise the body of an answer may wait 40 ms for the client to acknowledge its head."""
    with socket.create_server(("127.0.0.1", 0)) as ours:
        monkeypatch.setenv("LISTEN_FDS", "1" if inherited else "0")
        monkeypatch.setattr(processes, "LISTEN_FD", os.dup(ours.fileno()) if inherited else -1)
        monkeypatch.setenv("PORT", str(free_port()))
        with (
            serve.listening_socket() as listener,
            socket.create_connection(("127.0.0.1", listener.getsockname()[1])),
            listener.accept()[0] as accepted,
        ):
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_idle_connection_stays_open_for_longer_than_the_brokers_client_keeps_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configs: list[uvicorn.Config] = []
    monkeypatch.setattr(sys, "argv", ["serve", "workload_intake"])
    monkeypatch.setattr(serve, "_application", lambda _: None)
    monkeypatch.setattr(serve, "listening_socket", lambda: None)
    monkeypatch.setattr(uvicorn.Server, "run", lambda server, sockets: configs.append(server.config))
    try:
        assert serve.main() == 0
    finally:
        gc.unfreeze()
    assert configs[0].timeout_keep_alive > addressables.KEEP_ALIVE_SECONDS
