"""The cost of teams, workloads, SKUs and clusters over REST."""

from decimal import Decimal

import pytest

from shared.models.identity import Role
from tests.support.builders import Deliver, id_of
from tests.support.rest import Rest


def test_a_report_has_a_line_for_each_and_a_total(rest: Rest, deliver: Deliver) -> None:
    deliver.decide("chat")
    deliver.decide("rank", team="ads")
    answer = rest("GET", "/cost?by=team&since=2d")
    assert answer.status == 200, answer.body
    assert {item["key"] for item in answer.json["items"]} == {"search", "ads"}
    [chat] = [one for one in rest("GET", "/cost?by=workload").json["items"] if one["key"] == str(id_of("chat"))]
    assert (chat["name"], chat["usdPerHour"], chat["usedGpuHours"]) == ("search/search/chat", "1.930680", None)
    total = answer.json["total"]
    assert Decimal(total["usdPerHour"]) == sum(Decimal(item["usdPerHour"]) for item in answer.json["items"])
    limited = rest("GET", "/cost?by=workload&limit=1").json
    assert (len(limited["items"]), limited["groups"]) == (1, 2)
    assert limited["total"]["usdPerHour"] == total["usdPerHour"]


def test_a_team_sees_its_own_cost_alone(rest: Rest, deliver: Deliver) -> None:
    deliver.decide("chat")
    deliver.decide("rank", team="ads")
    rest.bind("eve", Role.VIEWER, "ads")
    found = rest("GET", "/cost?by=team", user="eve").json
    assert [item["key"] for item in found["items"]] == ["ads"]
    assert found["total"]["usdPerHour"] == found["items"][0]["usdPerHour"]
    rest.principals["none"] = rest.principals["eve"].__class__(rest.principals["eve"].actor)
    assert rest("GET", "/cost", user="none").status == 403


@pytest.mark.parametrize(
    "since", ["soon", "401d", "-1d", "2020-01-01", "9999-01-01", "2026-13-01", "P1M", "0001-01-01"]
)
def test_a_period_that_cannot_be_taken_is_named(rest: Rest, since: str) -> None:
    answer = rest("GET", f"/cost?since={since}")
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "since")
    assert "such as 30d" in answer.json["errors"][0]["message"]


@pytest.mark.parametrize("query", ["by=colour", "limit=0", "limit=10001", "since="])
def test_what_is_not_offered_is_refused(rest: Rest, query: str) -> None:
    assert rest("GET", f"/cost?{query}").status == 422
