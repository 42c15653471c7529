"""Clusters over REST: what an operator says of them, and how they stand."""

import pytest

from shared.models.identity import Role
from shared.operations.clusters import mark_away
from shared.store.unit_of_work import Store
from tests.support.builders import Deliver
from tests.support.rest import Rest

EU = {"name": "eu", "labels": {"region": "eu"}, "gpus": {"h100": 16}}


def test_a_cluster_is_registered_updated_cordoned_and_removed(rest: Rest) -> None:
    made = rest("POST", "/clusters", EU)
    assert (made.status, made.headers["location"], made.json["gpus"]) == (201, "/api/v1/clusters/eu", {"H100": 16})
    assert rest("POST", "/clusters", EU).status == 409
    update = {"labels": {"region": "eu", "tier": "a"}, "gpus": None}
    updated = rest("PUT", "/clusters/eu", update, if_match=made.headers["etag"])
    assert (updated.status, updated.json["gpus"], updated.json["labels"]["tier"]) == (200, None, "a")
    assert rest("PUT", "/clusters/eu", update, if_match=made.headers["etag"]).status == 412
    assert rest("PUT", "/clusters/eu", update).status == 428
    assert rest("POST", "/clusters/eu/cordon").json["state"] == "cordoned"
    assert rest("POST", "/clusters/eu/uncordon").json["state"] == "active"
    removed = rest("DELETE", "/clusters/eu")
    assert (removed.status, removed.body) == (204, b"")
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cordon"), ("POST", "/uncordon")):
        assert rest(method, f"/clusters/eu{path}").status == 404
    assert rest("PUT", "/clusters/eu", update, if_match="*").status == 404


def test_a_cluster_shows_its_capacity_what_is_reserved_and_when_it_answered(
    rest: Rest, store: Store, deliver: Deliver
) -> None:
    deliver.decide("chat")
    before = rest("GET", "/clusters/local").json
    assert (before["reservedGpus"], before["away"]) == ({"L4": 2}, False)
    with store.begin() as work:
        work.catalogue.add_products("local", ["NVIDIA-L4"])
    after = rest("GET", "/clusters/local").json
    assert "NVIDIA-L4" in after["products"]
    assert after["lastContact"] is not None
    with store.begin() as work:
        mark_away(work, "local", "no route")
    [found] = rest("GET", "/clusters").json["items"]
    assert (found["away"], found["awayReason"], found["lastContact"]) == (True, "no route", after["lastContact"])


def test_a_cluster_that_holds_workloads_is_not_removed(rest: Rest, deliver: Deliver) -> None:
    deliver.decide("chat")
    answer = rest("DELETE", "/clusters/local")
    assert (answer.status, "holds 1 workloads" in answer.json["detail"]) == (409, True)


def test_who_may_read_and_who_may_change_clusters(rest: Rest) -> None:
    rest.bind("eve", Role.VIEWER, "search")
    rest.bind("oli", Role.OPERATOR, "search")
    rest.bind("ops", Role.OPERATOR)
    assert rest("GET", "/clusters/local", user="eve").status == 200
    for user in ("eve", "oli"):
        assert rest("POST", "/clusters", EU, user=user).status == 403
        for method, path in (("POST", "/cordon"), ("POST", "/uncordon"), ("DELETE", "")):
            assert rest(method, f"/clusters/local{path}", user=user).status == 403
        assert rest("PUT", "/clusters/local", {}, user=user, if_match="*").status == 403
    assert rest("POST", "/clusters", EU, user="ops").status == 201


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**EU, "name": "EU"}, "name"),
        ({**EU, "url": "http://169.254.169.254"}, "url"),
        ({**EU, "gpus": {"H100": -1}}, "gpus.H100"),
        ({**EU, "gpus": {"H100": 1, "h100": 1}}, "gpus"),
        ({**EU, "labels": {"a b": "c"}}, "labels.a b"),
        ({**EU, "state": "lost"}, "state"),
    ],
)
def test_a_bad_cluster_is_refused_by_its_field(rest: Rest, body: object, field: str) -> None:
    answer = rest("POST", "/clusters", body)
    assert answer.status == 422
    assert answer.json["errors"][0]["field"].startswith(field)


def test_pages_of_clusters_survive_writes(rest: Rest) -> None:
    for name in "bd":
        rest("POST", "/clusters", {"name": name})
    first = rest("GET", "/clusters?limit=1")
    for name in "ac":
        rest("POST", "/clusters", {"name": name})
    second = rest("GET", f"/clusters?limit=2&cursor={first.json['next']}")
    assert [one["name"] for one in second.json["items"]] == ["c", "d"]
