"""What is around the routes: probes, metrics, the document, headers, threads."""

import http.client
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from functions.api.problems import MEDIA_TYPE
from functions.api.session import Services
from shared.store.database import connect
from shared.store.unit_of_work import Store
from tests.support.rest import Rest


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def test_it_is_ready_when_the_database_answers_and_is_migrated(
    rest: Rest, application: tuple[FastAPI, int], owner_engine: sa.Engine
) -> None:
    assert [rest("GET", f"//{path}", user=None).status for path in ("healthz", "readyz")] == [200, 200]
    for version in ("0001", None):
        with owner_engine.begin() as connection:
            was = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one()
            connection.execute(sa.text("DELETE FROM alembic_version"))
            if version:
                connection.execute(sa.text("INSERT INTO alembic_version VALUES (:version)"), {"version": version})
        try:
            answer = rest("GET", "//readyz", user=None)
        finally:
            with owner_engine.begin() as connection:
                connection.execute(sa.text("DELETE FROM alembic_version"))
                connection.execute(sa.text("INSERT INTO alembic_version VALUES (:was)"), {"was": was})
        assert (answer.status, "this release needs" in answer.json["detail"]) == (503, True)
    away = connect("postgresql://nobody@127.0.0.1:1/none", pool_size=1)
    application[0].state.services = Services(Store(away), rest.authenticate)
    assert [rest("GET", f"//{path}", user=None).status for path in ("healthz", "readyz")] == [200, 503]
    assert rest("GET", "/workloads").json["type"] == "/problems/unavailable"


def test_the_document_says_every_status_and_has_an_example_of_everything(rest: Rest) -> None:
    document = rest("GET", "//openapi.json", user=None).json
    lacking = []
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            for media_type, content in answer.get("content", {}).items():
                if "example" not in content and "examples" not in content:
                    lacking.append((name, status))
                if int(status) >= 400:
                    assert media_type == MEDIA_TYPE, name
                    assert content["example"]["status"] == int(status)
        body = operation.get("requestBody", {}).get("content", {})
        assert not body or "413" in operation["responses"], name
        lacking += [(name, "body") for one in body.values() if "example" not in one and "examples" not in one]
        assert operation.get("description"), name
    assert lacking == []
    changes = document["paths"]["/api/v1/workloads/{workload_id}"]["put"]
    assert {"200", "202", "401", "403", "404", "409", "412", "422", "428"} <= changes["responses"].keys()
    assert changes["security"] == [{"bearer": []}]
    assert "security" not in document["paths"]["/healthz"]["get"]


def test_every_answer_has_security_headers(rest: Rest) -> None:
    for path in ("//nowhere", "//healthz", "/workloads"):
        headers = rest("GET", path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_the_page_of_swagger_loads_nothing_from_another_host(rest: Rest) -> None:
    page = rest("GET", "//docs", user=None)
    assert page.status == 200
    assert "http" not in page.headers["content-security-policy"]
    loaded = re.findall(r"""(?:src|href)=["']([^"']+)["']|url: ['"]([^'"]+)['"]""", page.body.decode())
    paths = [one or other for one, other in loaded]
    assert {"/docs/static/swagger-ui-bundle.js", "/docs/static/swagger-ui.css", "/openapi.json"} <= set(paths)
    for path in paths:
        assert rest("GET", f"/{path}", user=None).status == 200, path


def test_a_defect_is_a_problem_without_a_word_of_our_insides(
    rest: Rest, application: tuple[FastAPI, int], store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Any:
        raise LookupError("secret of ours")

    application[0].state.services = Services(store, broken)
    answer = rest("GET", "/workloads", x_request_id="mine")
    assert (answer.status, answer.json["type"], answer.json["instance"]) == (500, "/problems/internal", "mine")
    assert b"secret" not in answer.body
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert [record.name for record in caplog.records] == ["sentinel.api"]


def test_a_caller_that_hangs_up_leaves_no_traceback(rest: Rest, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_connection(("127.0.0.1", rest.port)) as connection:
        head = (
            "POST /api/v1/workloads HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        connection.sendall(head.encode())
    assert rest("GET", "//healthz").status == 200
    assert caplog.records == []


def test_a_body_that_is_too_large_is_refused_however_it_comes(rest: Rest) -> None:
    answer = rest("POST", "/workloads", b" " * (1024 * 1024 + 1))
    assert (answer.status, answer.json["type"]) == (413, "/problems/too-large")
    connection = http.client.HTTPConnection("127.0.0.1", rest.port, timeout=30)
    chunks = iter([b" " * 65536] * 20)
    headers = {"authorization": "Bearer admin", "content-type": "application/json"}
    connection.request("POST", "/api/v1/workloads", chunks, headers, encode_chunked=True)
    response = connection.getresponse()
    assert (response.status, response.headers["content-type"]) == (413, MEDIA_TYPE)
    connection.close()


def test_no_two_schemas_of_the_document_share_a_name(rest: Rest) -> None:
    """FastAPI would tell them apart by the names of our modules."""
    assert [name for name in rest("GET", "//openapi.json").json["components"]["schemas"] if "__" in name] == []
