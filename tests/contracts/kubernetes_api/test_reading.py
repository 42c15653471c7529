"""Lists, selectors, pages and watches."""

from typing import Any

import pytest

from tests.contracts.kubernetes_api.api import Api, Home, config_map, deployment, pod


def _names(body: Any) -> list[str]:
    return [item["metadata"]["name"] for item in body["items"]]


def test_a_list_is_ordered_by_name_and_says_its_type_once(home: Home) -> None:
    for name in ("b", "c", "a"):
        home.create("deployments", deployment(name, replicas=0))
    body = home.api("GET", home.path("deployments")).body
    assert (body["kind"], body["apiVersion"]) == ("DeploymentList", "apps/v1")
    assert _names(body) == ["a", "b", "c"]
    assert "kind" not in body["items"][0]


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("colour=red", ["one"]),
        ("colour==red", ["one"]),
        ("colour!=red,size", ["two", "three"]),
        ("colour in (red, blue)", ["one", "two"]),
        ("colour notin (red),size", ["two", "three"]),
        ("size,!colour", ["three"]),
        ("size=5,colour=blue", ["two"]),
    ],
)
def test_labels_select(home: Home, selector: str, names: list[str]) -> None:
    home.create("configmaps", config_map("one", colour="red"))
    home.create("configmaps", config_map("two", colour="blue", size="5"))
    home.create("configmaps", config_map("three", size="5"))
    assert sorted(_names(home.api("GET", home.path("configmaps"), labelSelector=selector).body)) == sorted(names)


def test_fields_select(home: Home) -> None:
    home.create("pods", pod("one"))
    home.create("pods", pod("two", nodeSelector={"no": "such-node"}))
    home.wait_for("pods", "one", lambda obj: obj is not None and obj["status"].get("phase") == "Running")
    path = home.path("pods")
    assert _names(home.api("GET", path, fieldSelector="metadata.name=two").body) == ["two"]
    assert _names(home.api("GET", path, fieldSelector="status.phase=Running").body) == ["one"]
    assert _names(home.api("GET", path, fieldSelector="spec.nodeName=").body) == ["two"]
    assert _names(home.api("GET", path, fieldSelector="status.phase!=Running").body) == ["two"]


def test_selectors_that_cannot_be_are_a_400(home: Home) -> None:
    assert home.api("GET", home.path("pods"), labelSelector="a in b").code == 400
    assert home.api("GET", home.path("pods"), fieldSelector="spec.bogus=1").code == 400
    assert home.api("GET", home.path("configmaps"), fieldSelector="x").code == 400


def test_pages_together_are_the_list_of_one_moment(home: Home) -> None:
    for index in range(5):
        home.create("configmaps", config_map(f"item-{index}", paged="yes"))
    path = home.path("configmaps")
    first = home.api("GET", path, limit="2", labelSelector="paged=yes").body
    assert _names(first) == ["item-0", "item-1"]
    home.delete("configmaps", "item-3")
    home.create("configmaps", config_map("item-9", paged="yes"))
    second = home.api("GET", path, limit="2", labelSelector="paged=yes", continue_=first["metadata"]["continue"]).body
    third = home.api("GET", path, limit="2", labelSelector="paged=yes", continue_=second["metadata"]["continue"]).body
    assert _names(second) + _names(third) == ["item-2", "item-3", "item-4"]
    assert "continue" not in third["metadata"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_a_page_says_how_many_are_left(home: Home) -> None:
    for index in range(3):
        home.create("deployments", deployment(f"item-{index}", replicas=0))
    assert home.api("GET", home.path("deployments"), limit="1").body["metadata"]["remainingItemCount"] == 2


@pytest.mark.parametrize("text", ["x", "1.5", "\N{SUPERSCRIPT TWO}", "\N{ARABIC-INDIC DIGIT TWO}"])
def test_numbers_of_a_query_are_plain_digits(home: Home, text: str) -> None:
    path = home.path("configmaps")
    assert home.api("GET", path, limit=text).code == 400
    assert home.api("GET", path, watch="1", timeoutSeconds=text).code == 400
    assert home.api("GET", path, watch="1", resourceVersion=text).code == 500


def test_a_token_that_was_never_issued_is_a_400(home: Home) -> None:
    assert home.api("GET", home.path("configmaps"), limit="1", continue_="xx").code == 400


def test_a_watch_tells_what_happened_since_a_version(home: Home) -> None:
    path = home.path("configmaps")
    version = home.api("GET", path).body["metadata"]["resourceVersion"]
    home.create("configmaps", config_map("one"))
    home.merge("configmaps", "one", {"data": {"a": "c"}})
    home.delete("configmaps", "one")
    with home.api.watch(path, resourceVersion=version, fieldSelector="metadata.name=one") as events:
        seen = [next(events) for _ in range(3)]
    assert [event["type"] for event in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert seen[0]["object"]["kind"] == "ConfigMap"
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in seen]
    assert versions == sorted(set(versions))
    assert int(version) < versions[0]


def test_a_watch_without_a_version_begins_with_what_is_there(home: Home) -> None:
    home.create("configmaps", config_map("one", watched="yes"))
    with home.api.watch(home.path("configmaps"), labelSelector="watched=yes") as events:
        assert next(events)["object"]["metadata"]["name"] == "one"
        home.create("configmaps", config_map("two", watched="yes"))
        second = next(events)
    assert (second["type"], second["object"]["metadata"]["name"]) == ("ADDED", "two")


def test_a_watch_with_a_selector_sees_objects_come_and_go(home: Home) -> None:
    path = home.path("configmaps")
    version = home.api("GET", path).body["metadata"]["resourceVersion"]
    home.create("configmaps", config_map("one", colour="red"))
    home.merge("configmaps", "one", {"metadata": {"labels": {"colour": "blue"}}})
    home.merge("configmaps", "one", {"metadata": {"labels": {"colour": "red"}}})
    with home.api.watch(path, resourceVersion=version, labelSelector="colour=red") as events:
        seen = [next(events) for _ in range(3)]
    assert [event["type"] for event in seen] == ["ADDED", "DELETED", "ADDED"]
    # What has left is told of as it matched last, at the version of the change.
    assert [event["object"]["metadata"]["labels"]["colour"] for event in seen] == ["red", "red", "red"]
    assert len({event["object"]["metadata"]["resourceVersion"] for event in seen}) == 3


def test_a_watch_ends_when_its_time_is_up(home: Home) -> None:
    version = home.api("GET", home.path("configmaps")).body["metadata"]["resourceVersion"]
    with home.api.watch(home.path("configmaps"), resourceVersion=version, timeoutSeconds="1") as events:
        assert list(events) == []


def test_a_watch_can_ask_for_the_end_of_the_initial_events(home: Home) -> None:
    home.create("configmaps", config_map("one", watched="yes"))
    options = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    with home.api.watch(home.path("configmaps"), labelSelector="watched=yes", **options) as events:
        assert next(events)["type"] == "ADDED"
        bookmark = next(events)
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_discovery_names_the_kinds(api: Api) -> None:
    resources = {item["name"]: item for item in api("GET", "/apis/apps/v1").body["resources"]}
    assert resources["deployments"]["shortNames"] == ["deploy"]
    assert resources["deployments"]["kind"] == "Deployment"
    assert {"deployments/scale", "deployments/status", "statefulsets", "replicasets"} <= resources.keys()
    groups = {group["name"] for group in api("GET", "/apis").body["groups"]}
    assert {"apps", "batch"} <= groups


def test_a_request_without_the_token_is_refused(api: Api) -> None:
    known, api.token = api.token, "wrong"
    try:
        answer = api("GET", "/api/v1/namespaces")
    finally:
        api.token = known
    assert (answer.code, answer.reason) == (401, "Unauthorized")
