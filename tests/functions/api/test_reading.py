"""What an HTTP client is told of workloads, over real HTTP and from real PostgreSQL."""

import http.client
import json
import socket
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from functions.api.function import build
from shared.eventing.endpoint import asking
from shared.store.database import connect
from shared.store.unit_of_work import Store
from tests.support.builders import Deliver, id_of


class Client:
    """Asks the function over HTTP."""

    def __init__(self, port: int) -> None:
        self._port = port

    def request(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()


@pytest.fixture
def client(store: Store) -> Iterator[Client]:
    target = asking(build(store), threads=2)
    app = Starlette(routes=[Route("/{path:path}", target, methods=["GET", "POST"])])
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield Client(listener.getsockname()[1])
    server.should_exit = True
    thread.join()


def body(client: Client, path: str, status: int = 200) -> dict[str, Any]:
    answered, _, content = client.request("GET", path)
    assert answered == status, content
    document: dict[str, Any] = json.loads(content)
    return document


def test_workloads_are_listed_and_filtered(client: Client, deliver: Deliver) -> None:
    deliver.submit("one")
    deliver.submit("two", team="other")
    assert [item["name"] for item in body(client, "/workloads")["items"]] == ["two", "one"]
    assert [item["name"] for item in body(client, "/workloads?team=search&phase=proposed")["items"]] == ["one"]
    first = body(client, "/workloads?limit=1")
    assert (len(first["items"]), first["more"]) == (1, True)


def test_one_workload_has_its_spec_and_the_verdicts_on_its_plans(client: Client, deliver: Deliver) -> None:
    deliver.decide()
    found = body(client, f"/workloads/{id_of()}")
    assert (found["phase"], found["spec"]["image"]) == ("approved", "nginx:1.29")
    assert [(d["approved"], d["warnings"]) for d in found["decisions"]] == [(True, ["no_policy_matched"])]


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        (f"/workloads/{uuid.UUID(int=7)}", 404, "there is no workload"),
        ("/workloads/chat", 400, "is not a workload's id"),
        ("/workloads?limit=0", 400, "limit must be"),
        ("/workloads?limit=0000000011001", 400, "limit must be"),
        ("/workloads?limit=000000001" + 20 * "9", 400, "limit must be"),
        ("/workloads?limit=many", 400, "limit must be"),
        ("/workloads?phase=happy", 400, "phase must be one of"),
        ("/workloads?colour=red", 400, "unknown parameter 'colour'"),
        ("/workloads?name=%00", 400, "control characters"),
        ("/plans", 404, "there is /workloads"),
    ],
)
def test_a_question_that_cannot_be_answered_says_why(client: Client, path: str, status: int, reason: str) -> None:
    assert reason in body(client, path, status)["error"]


def test_wishes_are_not_taken_here(client: Client) -> None:
    status, headers, _ = client.request("POST", "/workloads")
    assert (status, headers["allow"]) == (405, "GET")


def test_health_is_200(client: Client) -> None:
    assert client.request("GET", "/healthz")[0] == 200


def test_a_database_that_is_away_is_503() -> None:
    away = Store(connect("postgresql+pg8000://nobody@127.0.0.1:1/none"))
    answer = build(away)("/workloads", {})
    assert answer.status == 503
