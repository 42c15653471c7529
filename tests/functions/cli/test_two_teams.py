"""Two teams: whatever one tries on the other's workload, by REST, by event or by command line, changes nothing.

What may be seen of it is nothing either: the answers are those for a workload that is not there.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from shared.models.bindings import SourceBinding
from shared.models.identity import Role
from shared.operations import bindings
from shared.store.unit_of_work import Store
from tests.functions.cli.conftest import Api, Sentinel
from tests.support.builders import (
    INTAKE,
    POLICY,
    PROPOSED,
    REJECTED,
    SUBMITTED,
    TESTS,
    WITHDRAWN,
    Deliver,
    id_of,
    rows,
    submission,
    told,
    withdrawal,
)
from tests.support.dead_letters import keep_letter

MINE, THEIRS = "search", "ads"
NAME = "chat"
STATE = ("workloads", "action_plans", "reservations", "deployments", "outbox", "dead_letters")
LETTER = "given-up"
GIVEN_UP = submission(NAME, image="nginx:1.30")
"""What the dead letter holds: a submission of the one team."""
MERGE = {"content_type": "application/merge-patch+json"}


@pytest.fixture
def team(store: Store, deliver: Deliver, api: Api) -> Store:
    """A workload of one team; `bob` is everything that one can be in the other, and so is the source /ads."""
    deliver.decide(NAME)
    keep_letter(store, LETTER, json.dumps(GIVEN_UP).encode())
    for role in Role:
        api.rest.bind("bob", role, THEIRS)
    with store.begin() as work:
        bindings.delete_source(work, "everything", TESTS)
        bindings.put_source(work, SourceBinding("ads", "/ads", (THEIRS,)), TESTS)
    return store


@pytest.fixture
def unchanged(team: Store, owner_engine: sa.Engine) -> Callable[[], bool]:
    """Whether everything is as it was."""

    def state() -> dict[str, Any]:
        return {name: rows(owner_engine, name) for name in STATE}

    before = state()
    return lambda: state() == before


ASKED: list[tuple[str, str, Any, dict[str, str], int]] = [
    ("POST", "", submission(NAME, image="evil:1"), {}, 403),
    ("PUT", "/{id}", submission(NAME, image="evil:1"), {"if_match": "*"}, 404),
    ("PATCH", "/{id}", {"image": "evil:1"}, MERGE, 404),
    ("DELETE", "/{id}", None, {}, 404),
    ("POST", "/{id}/scale", {"replicas": 9}, {}, 404),
    ("POST", "/{id}/restart", None, {}, 404),
    ("POST", "/{id}/rollback", {}, {}, 404),
    ("GET", "/{id}", None, {}, 404),
    ("GET", "/{id}/timeline", None, {}, 404),
    ("GET", "/{id}/deployments", None, {}, 404),
]


@pytest.mark.parametrize(("method", "path", "body", "headers", "status"), ASKED, ids=lambda value: str(value)[:20])
def test_by_rest(
    api: Api,
    unchanged: Callable[[], bool],
    method: str,
    path: str,
    body: Any,
    headers: dict[str, str],
    status: int,
) -> None:
    target = f"/workloads{path.format(id=id_of(NAME))}"
    answer = api.rest(method, target, body, user="bob", **headers)
    assert answer.status == status, answer.body
    assert unchanged()


def test_a_list_and_its_filters_show_nothing_of_the_other(api: Api, team: Store) -> None:
    for query in ("", f"?team={MINE}", f"?name={NAME}", f"?namespace={MINE}&sort=-name"):
        answer = api.rest("GET", f"/workloads{query}", user="bob")
        assert (answer.status, answer.json["items"]) in ((200, []), (403, [])), query


@pytest.mark.parametrize(
    ("type_name", "data"), [(SUBMITTED, submission(NAME, image="evil:1")), (WITHDRAWN, withdrawal(NAME))]
)
def test_by_event(deliver: Deliver, unchanged: Callable[[], bool], type_name: str, data: object) -> None:
    assert told(deliver(INTAKE, type_name, data, source="/ads")).type == REJECTED
    assert unchanged()


def test_by_a_plan_of_a_decision_service(deliver: Deliver, unchanged: Callable[[], bool]) -> None:
    plan = {
        "plan": "0c8d5f8e-7f4f-5d9e-8a52-1c5a3a1e5b60",
        "workload": str(id_of(NAME)),
        "generation": 1,
        "decisions": [{"verb": "remove", "cluster": "local", "replicas": 0}],
        "source": "decision_service",
    }
    assert deliver(POLICY, PROPOSED, plan, source="/ads").status != 500
    assert unchanged()


@pytest.mark.parametrize(
    "arguments",
    [
        ("submit", "-f", "{file}"),
        ("remove", NAME, "--team", MINE, "--namespace", MINE),
        ("remove", str(id_of(NAME))),
        ("get", NAME),
        ("get", str(id_of(NAME))),
        ("trace", NAME),
        ("trace", str(id_of(NAME))),
    ],
    ids=lambda value: " ".join(value),
)
def test_by_command_line(
    sentinel: Sentinel, unchanged: Callable[[], bool], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    file = tmp_path / "workload.json"
    file.write_text(json.dumps(submission(NAME, image="evil:1")))
    ran = sentinel(*(one.format(file=file) for one in arguments), SENTINEL_TOKEN="bob")
    assert ran.code == 1, ran
    assert "nginx:1.29" not in ran.out + ran.err
    assert unchanged()


def test_a_dead_letter_is_redriven_by_nobody_of_a_team(
    api: Api, sentinel: Sentinel, deliver: Deliver, unchanged: Callable[[], bool]
) -> None:
    """Dead letters belong to no team: whoever sends one again acts for whom it came from."""
    [letter] = api.rest("GET", "/events/dead-letters").json["items"]
    for method, path in (("GET", ""), ("GET", f"/{letter['id']}"), ("POST", f"/{letter['id']}/redrive")):
        assert api.rest(method, f"/events/dead-letters{path}", user="bob").status == 403
    for arguments in (("list",), ("show", letter["id"]), ("redrive", letter["id"]), ("redrive", "--all")):
        ran = sentinel("events", *arguments, SENTINEL_TOKEN="bob")
        assert (ran.code, ran.out) == (1, ""), arguments
        assert "for all teams; an admin can bind one" in ran.err
    answer = deliver(INTAKE, SUBMITTED, GIVEN_UP, source="/ads", event_id=LETTER)
    assert told(answer).type == REJECTED, "its bytes under another source are that source's"
    assert unchanged()


def test_by_command_line_a_list_is_empty(sentinel: Sentinel, team: Store) -> None:
    assert NAME not in sentinel("get", "-o", "json", SENTINEL_TOKEN="bob").out
