"""What every route does with a request, whatever it asks: identity, strict reading, problem documents, headers."""

import pytest

from shared.models.identity import Role
from tests.support.builders import Deliver, id_of
from tests.support.rest import Rest

ABSENT = "/workloads/9403eeb2-8848-53a3-90c2-1095c047864f"


def test_a_workload_is_shown_to_those_who_may_read_its_team_and_hidden_from_others(
    rest: Rest, deliver: Deliver
) -> None:
    deliver.submit("chat")
    rest.bind("ada", Role.VIEWER, "search")
    rest.bind("bob", Role.ADMIN, "ads")
    path = f"/workloads/{id_of('chat')}"
    shown, hidden, absent = (rest("GET", path, user=user) for user in ("ada", "bob", "nobody"))
    assert (shown.status, shown.json["spec"]["image"]) == (200, "nginx:1.29")
    assert (hidden.status, absent.status) == (404, 401)
    never = rest("GET", ABSENT, user="bob")
    assert hidden.json["detail"].replace(str(id_of("chat")), "ID") == never.json["detail"].replace(ABSENT[11:], "ID")


def test_an_answer_carries_the_id_of_its_request_and_a_problem_names_it(rest: Rest) -> None:
    answer = rest("GET", ABSENT, x_request_id="mine-1")
    assert answer.headers["x-request-id"] == answer.json["instance"] == "mine-1"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["type"] == "/problems/not-found"
    assert rest("GET", ABSENT, x_request_id="not one").json["instance"] != "not one"


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("//nowhere", 404, "there is no such route"),
        (f"{ABSENT}?color=red", 400, "'color': is unknown; this route takes none"),
        ("/users?name=a%00b", 400, "'name': must not hold the character NUL"),
        ("/workloads/12", 422, "workload_id: "),
    ],
)
def test_a_mistake_is_a_problem_that_names_it(rest: Rest, path: str, status: int, said: str) -> None:
    answer = rest("GET", path)
    assert (answer.status, answer.json["status"]) == (status, status)
    assert said in answer.json["detail"]


def test_without_a_token_nothing_is_said(rest: Rest) -> None:
    answer = rest("GET", ABSENT, user=None)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
