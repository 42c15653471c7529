"""The queue, reservations and usage over REST, by team."""

from shared.models.identity import Role
from shared.store.unit_of_work import Store
from tests.support.builders import Deliver, id_of
from tests.support.queueing import gpus, policy
from tests.support.rest import Answer, Rest


def shown(answer: Answer, *names: str) -> list[tuple[object, ...]]:
    assert answer.status == 200, answer.body
    return [tuple(item[name] for name in names) for item in answer.json["items"]]


def test_the_queue_is_listed_in_its_order_over_pages(rest: Rest, store: Store, deliver: Deliver) -> None:
    policy(store, gpus(2))
    deliver.decide("runs")
    for name, priority in {"a": 0, "b": 5, "c": 0, "d": 5, "e": 0}.items():
        deliver.decide(name, queue=True, priority=priority)
    seen: list[tuple[object, ...]] = []
    cursor = ""
    for _ in range(3):
        page = rest("GET", f"/queue?limit=2{cursor}")
        seen += shown(page, "position", "workload")
        cursor = f"&cursor={page.json['next']}"
        if page.json["next"] is None:
            break
    assert seen == [(at, f"search/search/{name}") for at, name in enumerate("bdace", start=1)]
    assert shown(rest("GET", "/queue"), "position", "workload") == seen
    last = rest("GET", "/queue?sort=-position&limit=3")
    rest_of_it = rest("GET", f"/queue?sort=-position&limit=3&cursor={last.json['next']}")
    backwards = shown(last, "workload") + shown(rest_of_it, "workload")
    assert backwards == [(name,) for _, name in reversed(seen)]


def test_a_line_says_who_holds_what_and_what_it_costs(rest: Rest, deliver: Deliver) -> None:
    deliver.decide("chat")
    [line] = rest("GET", "/reservations").json["items"]
    assert (line["workload"], line["cluster"], line["sku"]) == (str(id_of("chat")), "local", "L4")
    assert (line["state"], line["gpus"], line["cpu"], line["usdPerHour"]) == ("held", 2, 8000, "1.930680")
    assert line["expiresAt"] is not None
    [used] = rest("GET", "/usage").json["items"]
    assert (used["team"], used["gpus"]) == ("search", 2)
    assert float(used["monthToDateUsd"]) >= 0


def test_lists_show_the_teams_that_may_be_read(rest: Rest, store: Store, deliver: Deliver) -> None:
    policy(store, gpus(2))
    for team in ("search", "ads"):
        deliver.decide("runs", team=team)
        deliver.decide("waits", team=team, queue=True)
    rest.bind("eve", Role.VIEWER, "ads")
    for path, count in (("/queue", 1), ("/reservations", 1), ("/usage", 1)):
        assert len(rest("GET", path).json["items"]) == 2 * count
        assert shown(rest("GET", path, user="eve"), "team") == [("ads",)] * count
        assert shown(rest("GET", f"{path}?team=search", user="eve"), "team") == []
        rest.principals["none"] = rest.principals["eve"].__class__(rest.principals["eve"].actor)
        assert rest("GET", path, user="none").status == 403


def test_filters_sorts_and_pages_of_lines(rest: Rest, deliver: Deliver) -> None:
    for name in "abc":
        deliver.decide(name)
    deliver.decide("a", team="ads")
    assert len(rest("GET", f"/reservations?workload={id_of('a')}").json["items"]) == 1
    expected = {"cluster=local": 4, "cluster=far": 0, "state=held": 4, "state=committed": 0, "team=ads&state=held": 1}
    found = {query: len(rest("GET", f"/reservations?{query}").json["items"]) for query in expected}
    assert found == expected
    assert rest("GET", "/reservations?state=lost").status == 422
    assert len(rest("GET", "/usage?cluster=other").json["items"]) == 0
    first = rest("GET", "/reservations?sort=team&limit=3")
    second = rest("GET", f"/reservations?sort=team&limit=3&cursor={first.json['next']}")
    assert [team for (team,) in shown(first, "team")] == ["ads", "search", "search"]
    lines = shown(first, "workload") + shown(second, "workload")
    assert sorted(lines) == sorted(shown(rest("GET", "/reservations"), "workload"))
    assert rest("GET", f"/reservations?cursor={first.json['next']}").status == 400
    assert rest("GET", "/usage?sort=usd").status == 422
