"""What an API server's answers mean."""

import json
from typing import Any

import pytest

from shared.clusters.answers import ApiAnswer, error_of
from shared.errors import ClusterAway, ClusterRefused, ClusterUnavailable
from tests.support.api_servers import status

TERMINATING = {"causes": [{"reason": "NamespaceTerminating", "message": "namespace x is being terminated"}]}


def answer(code: int, body: Any) -> ApiAnswer:
    return ApiAnswer.of("PATCH /x", code, body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize(
    ("code", "body", "error"),
    [
        *((code, status(code, "no"), ClusterRefused) for code in (400, 403, 404, 405, 406, 413, 415, 422)),
        (
            500,
            status(500, "failed to create typed patch object (x; apps/v1): .spec.y: field not declared"),
            ClusterRefused,
        ),
        *((code, status(code, "later"), ClusterUnavailable) for code in (408, 410, 500, 504)),
        *((code, status(code, "later"), ClusterAway) for code in (401, 429, 502, 503)),
        (403, status(403, "forbidden", **TERMINATING), ClusterUnavailable),
        (404, b"<html>not found</html>", ClusterAway),
        (200, b"<html>log in</html>", ClusterAway),
        (200, b"[]", ClusterAway),
        (502, b"\xff" * 10, ClusterAway),
    ],
)
def test_each_answer_is_permanent_or_not(code: int, body: Any, error: type[Exception]) -> None:
    found = error_of("eu", answer(code, body))
    assert type(found) is error
    assert str(found).startswith(f"cluster eu: PATCH /x: {code} ")


def test_only_a_status_that_names_the_object_makes_it_absent() -> None:
    named = {"kind": "deployments", "name": "web"}
    assert answer(404, status(404, **named)).is_absent("deployments", "web")
    assert not answer(404, status(404, kind="namespaces", name="web")).is_absent("deployments", "web")
    assert not answer(404, status(404)).is_absent("deployments", "web")
    assert not answer(404, {"details": "no object"}).is_absent("deployments", "web")
    assert not answer(404, b"404 page not found").is_absent("deployments", "web")
    assert not answer(410, status(410, **named)).is_absent("deployments", "web")


def test_causes_speak_with_their_fields_and_without_the_object_that_was_rejected() -> None:
    value = '{"Env":[{"Name":"PASSWORD","Value":"hunter2"}],"x":"}: "}'
    causes = [
        {"field": "spec.template", "message": f"Invalid value: {value}: field is immutable"},
        {"field": "spec.x", "message": "Required value"},
        {"message": "and more"},
    ]
    found = answer(422, status(422, f"Job is invalid: {value}", causes=causes))
    assert found.message == "spec.template: field is immutable; spec.x: Required value; and more"


def test_a_long_message_is_cut_and_a_missing_one_said() -> None:
    assert len(answer(400, status(400, "x" * 5000)).message) == 1000
    assert answer(400, {}).message == "no explanation"
