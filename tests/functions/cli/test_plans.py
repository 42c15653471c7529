"""`sentinel plan`: what is to be done, what policy says to it, and what a person answers."""

import uuid

import pytest

from shared.models.identity import Role
from shared.store.unit_of_work import Store
from tests.functions.cli.conftest import Api, Sentinel
from tests.support.brokers import Broker
from tests.support.builders import POLICY, Deliver, id_of, set_columns
from tests.support.queueing import RECONSIDERED, newest, plan, policy, workload


@pytest.fixture
def asked(api: Api, store: Store, deliver: Deliver) -> str:
    """A plan of the team search that awaits approval; the token `ada` is of an operator of that team."""
    policy(store, {"type": "approval", "gpus": 1})
    deliver.decide("chat")
    api.rest.bind("ada", Role.OPERATOR, "search")
    api.rest.bind("eve", Role.SUBMITTER, "search")
    api.rest.bind("bob", Role.ADMIN, "ads")
    return str(newest(store, "chat").id)


def test_plans_are_listed_newest_first_and_by_what_they_are(sentinel: Sentinel, deliver: Deliver, asked: str) -> None:
    deliver.submit("other")
    header, first, second = sentinel("plan", "list").lines
    assert header.split()[:5] == ["ID", "WORKLOAD", "TEAM", "VERB", "CLUSTER"]
    assert first.split()[1] == str(id_of("other"))
    assert second.split()[:5] == [asked, str(id_of("chat")), "search", "deploy", "local"]
    for option, value in (("--status", "awaiting_approval"), ("--workload", "chat"), ("--workload", id_of("chat"))):
        assert [one["id"] for one in sentinel("plan", "list", option, value, "-o", "json").json] == [asked]
    assert sentinel("plan", "list", "--team", "ads", "-o", "json").json == []
    assert sentinel("plan", "list", "--workload", "nothing").code == 1
    ran = sentinel("plan", "list", "--limit", 1)
    assert (len(ran.lines), "only the newest 1 are shown" in ran.err) == (2, True)


def test_a_plan_is_shown_with_the_decision_on_it(sentinel: Sentinel, asked: str) -> None:
    header, line, _, detail_header, violation = sentinel("plan", "show", asked).lines
    assert header.split()[-2:] == ["NAME", "REASON"]
    assert line.split()[0] == asked
    assert "search/search/chat  more than 1 GPUs (2) needs approval: " in line
    assert detail_header.split() == ["WHAT", "POLICY", "RULE", "LIMIT", "OBSERVED", "MESSAGE"]
    assert violation.split()[:3] == ["violation", "limit", "approval"]
    assert sentinel("plan", "show", asked, "-o", "json").json["decision"]["approved"] is False


def test_an_approved_plan_is_decided_again(
    sentinel: Sentinel, store: Store, deliver: Deliver, broker: Broker, asked: str
) -> None:
    ran = sentinel("plan", "approve", asked, "--reason", "for the launch", SENTINEL_TOKEN="ada")
    assert (ran.code, ran.out, ran.err) == (0, f"{asked}\n", "")
    [event] = broker.events
    assert event.type == RECONSIDERED
    deliver(POLICY, RECONSIDERED, event.data)
    assert plan(store, uuid.UUID(asked)).status == "approved"
    assert sentinel("plan", "list", "--status", "approved").lines[1].split()[-2] == "user:ada"
    again = sentinel("plan", "approve", asked, SENTINEL_TOKEN="ada")
    assert (again.code, again.out) == (1, "")


def test_a_rejected_plan_is_denied(sentinel: Sentinel, store: Store, asked: str) -> None:
    ran = sentinel("plan", "reject", asked, "--reason", "too early", "-o", "json", SENTINEL_TOKEN="ada")
    assert [(one["id"], one["status"]) for one in ran.json] == [(asked, "denied")]
    assert workload(store, "chat").reason.endswith("user:ada has rejected it: too early")


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_who_may_not_answer_is_told_so(sentinel: Sentinel, store: Store, asked: str, verb: str) -> None:
    eve, bob = (sentinel("plan", verb, asked, SENTINEL_TOKEN=name) for name in ("eve", "bob"))
    assert (eve.code, "no role with plans:approve for team search" in eve.err) == (1, True)
    assert (bob.code, f"there is no action plan {asked}" in bob.err) == (1, True)
    with store.begin() as work:
        set_columns(work, "action_plans", uuid.UUID(asked), proposed_by="user:ada")
    own = sentinel("plan", verb, asked, SENTINEL_TOKEN="ada")
    assert (own.code, "somebody else" in own.err) == (1, True)
    assert plan(store, uuid.UUID(asked)).status == "awaiting_approval"


def test_what_names_no_plan_is_refused(sentinel: Sentinel) -> None:
    ran = sentinel("plan", "show", "chat")
    assert (ran.code, ran.err) == (2, "sentinel: chat is not the id of a plan: see `sentinel plan list`\n")
    absent = uuid.UUID(int=7)
    ran = sentinel("plan", "approve", absent)
    assert (ran.code, ran.err) == (1, f"sentinel: there is no action plan {absent}: see `sentinel plan list`\n")
