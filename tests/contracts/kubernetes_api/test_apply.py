"""Server-side apply: ownership, conflicts, removal, and the preconditions that an apply can carry."""

import pytest

from tests.contracts.kubernetes_api.api import APPLY, MERGE, Home, Object, container, deployment, managers

pytestmark = pytest.mark.slow


def test_an_apply_creates_and_then_updates(home: Home) -> None:
    assert home.apply("deployments", deployment("web")).code == 201
    updated = home.apply("deployments", deployment("web", "fate.test/ready:2"))
    assert updated.code == 200
    assert container(updated.body)["image"] == "fate.test/ready:2"


def test_an_apply_owns_what_it_states_and_no_default(home: Home) -> None:
    body = home.apply("deployments", deployment("web", replicas=0)).body
    entry = next(entry for entry in body["metadata"]["managedFields"] if entry["manager"] == "sentinel")
    assert entry["operation"] == "Apply"
    assert entry["fieldsV1"] == {
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:template": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {"f:containers": {'k:{"name":"main"}': {".": {}, "f:image": {}, "f:name": {}}}},
            },
        }
    }


def test_the_same_apply_again_keeps_the_version(home: Home) -> None:
    home.apply("configmaps", _config({"a": "1"}))
    before = home.get("configmaps", "settings").body["metadata"]
    again = home.apply("configmaps", _config({"a": "1"}))
    assert again.code == 200
    assert again.body["metadata"]["resourceVersion"] == before["resourceVersion"]


def test_an_apply_after_a_scale_conflicts_and_names_manager_and_field(home: Home) -> None:
    home.apply("deployments", deployment("web", replicas=1))
    scale = home.path("deployments", "web", "scale")
    home.api("PATCH", scale, {"spec": {"replicas": 3}}, MERGE, fieldManager="scaler")
    answer = home.apply("deployments", deployment("web", replicas=2))
    assert (answer.code, answer.reason) == (409, "Conflict")
    assert answer.causes == [("FieldManagerConflict", ".spec.replicas")]
    cause = answer.body["details"]["causes"][0]["message"]
    assert cause == 'conflict with "scaler" with subresource "scale" using apps/v1'
    assert answer.message == f"Apply failed with 1 conflict: {cause}: .spec.replicas"


def test_a_scale_to_none_is_owned_by_nobody_so_an_apply_takes_it_back(home: Home) -> None:
    home.apply("deployments", deployment("web", replicas=2))
    scale = home.path("deployments", "web", "scale")
    home.api("PATCH", scale, {"spec": {"replicas": 0}}, MERGE, fieldManager="scaler")
    assert "scaler" not in {name for name, _, _ in managers(home.get("deployments", "web").body)}
    again = home.apply("deployments", deployment("web", replicas=2))
    assert (again.code, again.body["spec"]["replicas"]) == (200, 2)


def test_an_equal_value_is_no_conflict_but_shared(home: Home) -> None:
    home.apply("deployments", deployment("web", replicas=1))
    scale = home.path("deployments", "web", "scale")
    home.api("PATCH", scale, {"spec": {"replicas": 3}}, MERGE, fieldManager="scaler")
    assert home.apply("deployments", deployment("web", replicas=3)).code == 200


def test_several_conflicts_are_all_named(home: Home) -> None:
    home.apply("configmaps", _config({"a": "1", "b": "1"}), "first")
    answer = home.apply("configmaps", _config({"a": "2", "b": "2"}), "second")
    assert answer.code == 409
    assert answer.causes == [("FieldManagerConflict", ".data.a"), ("FieldManagerConflict", ".data.b")]
    assert answer.message == 'Apply failed with 2 conflicts: conflicts with "first":\n- .data.a\n- .data.b'


def test_force_takes_the_field_over(home: Home) -> None:
    home.apply("configmaps", _config({"a": "1"}), "first")
    forced = home.apply("configmaps", _config({"a": "2"}), "second", force="true")
    assert (forced.code, forced.body["data"]) == (200, {"a": "2"})
    assert {name for name, _, _ in managers(forced.body)} == {"second"}
    assert home.apply("configmaps", _config({"a": "1"}), "first").code == 409


def test_a_field_that_is_no_longer_applied_goes(home: Home) -> None:
    home.apply("configmaps", _config({"a": "1", "b": "2"}))
    assert home.apply("configmaps", _config({"a": "1"})).body["data"] == {"a": "1"}


def test_a_field_that_another_manager_applies_too_stays(home: Home) -> None:
    home.apply("configmaps", _config({"a": "1", "b": "2"}), "first")
    home.apply("configmaps", _config({"b": "2"}), "second")
    assert home.apply("configmaps", _config({"a": "1"}), "first").body["data"] == {"a": "1", "b": "2"}


def test_a_list_item_that_is_no_longer_applied_goes_and_others_stay(home: Home) -> None:
    body = deployment("web", replicas=0)
    container(body)["env"] = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    home.apply("deployments", body)
    added = deployment("web", replicas=0)
    container(added)["env"] = [{"name": "C", "value": "3"}]
    assert home.apply("deployments", added, "other").code == 200
    container(body)["env"] = [{"name": "B", "value": "9"}]
    result = container(home.apply("deployments", body).body)["env"]
    assert {item["name"]: item["value"] for item in result} == {"B": "9", "C": "3"}


@pytest.mark.parametrize(
    ("live", "applied", "merged"),
    [("Z", "B", "ZB"), ("ZC", "BC", "ZBC"), ("AXB", "BA", "XBA"), ("XAYB", "ABN", "XAYBN")],
)
def test_list_items_of_others_keep_their_place(home: Home, live: str, applied: str, merged: str) -> None:
    body = deployment("web", replicas=0)
    container(body)["env"] = [{"name": name, "value": "1"} for name in live]
    home.create("deployments", body)
    container(body)["env"] = [{"name": name, "value": "1"} for name in applied]
    result = home.apply("deployments", body).body
    assert "".join(item["name"] for item in container(result)["env"]) == merged


def test_dropping_an_optional_field_restores_its_default(home: Home) -> None:
    home.apply("deployments", deployment("web", replicas=0, revisionHistoryLimit=3))
    assert home.apply("deployments", deployment("web", replicas=0)).body["spec"]["revisionHistoryLimit"] == 10


def test_foreign_labels_survive_an_apply(home: Home) -> None:
    home.apply("deployments", deployment("web", replicas=0))
    home.merge("deployments", "web", {"metadata": {"labels": {"team": "x"}}}, fieldManager="people")
    after = home.apply("deployments", deployment("web", "fate.test/ready:2", replicas=0)).body
    assert after["metadata"]["labels"] == {"team": "x"}


def test_an_apply_with_the_uid_of_no_object_is_a_conflict(home: Home) -> None:
    body = deployment("web")
    body["metadata"]["uid"] = "11111111-1111-1111-1111-111111111111"
    answer = home.apply("deployments", body)
    assert (answer.code, answer.reason) == (409, "Conflict")
    assert home.get("deployments", "web").code == 404


def test_an_apply_with_a_resource_version_alone_creates_a_deleted_object_again(home: Home) -> None:
    body = deployment("web", replicas=0)
    body["metadata"]["resourceVersion"] = "1"
    assert home.apply("deployments", body).code == 201


def test_an_apply_with_a_stale_version_is_a_conflict_and_with_the_current_one_is_not(home: Home) -> None:
    first = home.apply("configmaps", _config({"a": "1"})).body["metadata"]
    home.merge("configmaps", "settings", {"metadata": {"annotations": {"x": "y"}}})
    body = _config({"a": "2"})
    body["metadata"] |= {"uid": first["uid"], "resourceVersion": first["resourceVersion"]}
    stale = home.apply("configmaps", body)
    assert (stale.code, stale.reason, stale.causes) == (409, "Conflict", [])
    current = home.get("configmaps", "settings").body["metadata"]["resourceVersion"]
    body["metadata"]["resourceVersion"] = current
    assert home.apply("configmaps", body).code == 200


def test_an_apply_with_another_uid_is_refused(home: Home) -> None:
    home.apply("configmaps", _config({"a": "1"}))
    body = _config({"a": "1"})
    body["metadata"]["uid"] = "11111111-1111-1111-1111-111111111111"
    answer = home.apply("configmaps", body)
    assert (answer.code, answer.causes) == (422, [("FieldValueInvalid", "metadata.uid")])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"replicas": "two"}, ".spec.replicas: expected numeric (int or float), got string"),
        ({"bogus": 1}, ".spec.bogus: field not declared in schema"),
        ({"paused": "yes"}, ".spec.paused: expected boolean, got &{yes}"),
    ],
)
def test_an_apply_that_does_not_fit_the_schema_is_a_500_that_says_so(
    home: Home, change: Object, complaint: str
) -> None:
    home.apply("deployments", deployment("web", replicas=0))
    for level in ("Strict", "Warn"):
        answer = home.apply("deployments", deployment("web", **change), fieldValidation=level)
        assert answer.code == 500
        prefix = "failed to create typed patch object (/web; apps/v1, Kind=Deployment): "
        assert answer.message == prefix + complaint


def test_an_apply_is_yaml_and_has_no_escaped_surrogates(home: Home) -> None:
    path = home.path("configmaps", "a")
    body = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "%s"}}'
    refused = home.api("PATCH", path, (body % r"\ud83d\ude00").encode(), APPLY, fieldManager="m")
    assert (refused.code, refused.reason) == (400, "BadRequest")
    for text, value in ((r"\\ud83d", r"\ud83d"), ("\U0001f600", "\U0001f600")):
        applied = home.api("PATCH", path, (body % text).encode(), APPLY, fieldManager="m")
        assert applied.body["data"] == {"a": value}


def test_an_apply_with_a_duplicate_list_key_is_refused(home: Home) -> None:
    body = deployment("web")
    container(body)["env"] = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    answer = home.apply("deployments", body)
    assert answer.code == 500
    path = '.spec.template.spec.containers[name="main"].env'
    assert answer.message.endswith(f'{path}: duplicate entries for key [name="A"]')


def test_an_apply_with_a_bad_quantity_is_a_500(home: Home) -> None:
    body = deployment("web")
    container(body)["resources"] = {"limits": {"cpu": "1x"}}
    answer = home.apply("deployments", body)
    assert answer.code == 500
    assert "quantities must match the regular expression" in answer.message


def test_an_apply_needs_a_manager_a_kind_and_the_name_of_its_url(home: Home) -> None:
    path = home.path("deployments", "web")
    unmanaged = home.api("PATCH", path, deployment("web"), APPLY)
    assert (unmanaged.code, unmanaged.causes) == (422, [("FieldValueRequired", "fieldManager")])
    assert home.api("PATCH", path, deployment("other"), APPLY, fieldManager="m").code == 400
    assert home.api("PATCH", path, {"metadata": {"name": "web"}}, APPLY, fieldManager="m").code == 400
    forced = home.api("PATCH", path, {}, MERGE, force="true")
    assert (forced.code, forced.causes) == (422, [("FieldValueForbidden", "force")])


def _config(data: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": data}
