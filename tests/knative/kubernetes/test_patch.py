import pytest

from knative.local.kubernetes import patch
from knative.local.kubernetes.errors import ApiError
from knative.local.kubernetes.schema import STRING, ListOf, Struct

_ITEM = Struct("Item", {"name": STRING, "value": STRING})
_ROOT = Struct("Root", {"items": ListOf(_ITEM, "map", ("name",), "name"), "set": ListOf(STRING, "set")})


def test_a_merge_patch_removes_with_null_and_replaces_lists() -> None:
    target = {"a": {"b": 1, "c": 2}, "l": [1, 2]}
    assert patch.merge_patch(target, {"a": {"b": None}, "l": [3]}) == {"a": {"c": 2}, "l": [3]}
    assert target == {"a": {"b": 1, "c": 2}, "l": [1, 2]}


def test_json_patch_operations() -> None:
    target = {"a": [1, 2], "b~/c": 1}
    operations = [
        {"op": "add", "path": "/a/1", "value": 9},
        {"op": "add", "path": "/a/-", "value": 8},
        {"op": "copy", "from": "/a/0", "path": "/d"},
        {"op": "move", "from": "/b~0~1c", "path": "/e"},
        {"op": "test", "path": "/e", "value": 1},
        {"op": "remove", "path": "/a/0"},
    ]
    assert patch.json_patch(target, operations) == {"a": [9, 2, 8], "d": 1, "e": 1}


@pytest.mark.parametrize(
    ("operations", "code"),
    [
        ({}, 400),
        ([{"op": "bogus", "path": "/a"}], 422),
        ([{"op": "remove", "path": "/none"}], 422),
        ([{"op": "replace", "path": "/a/9", "value": 1}], 422),
        ([{"op": "test", "path": "/a", "value": 1}], 422),
    ],
)
def test_a_json_patch_that_does_not_fit_is_refused(operations: object, code: int) -> None:
    with pytest.raises(ApiError) as refused:
        patch.json_patch({"a": [1]}, operations)
    assert refused.value.code == code


def test_a_strategic_patch_merges_lists_by_key_and_honours_its_directives() -> None:
    target = {"items": [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}], "set": ["x"]}
    change = {
        "items": [{"name": "c", "value": "3"}, {"name": "b", "value": "4"}, {"name": "a", "$patch": "delete"}],
        "$setElementOrder/items": [{"name": "c"}, {"name": "b"}],
        "set": ["y"],
    }
    assert patch.strategic_patch(_ROOT, target, change) == {
        "items": [{"name": "b", "value": "4"}, {"name": "c", "value": "3"}],
        "set": ["x", "y"],
    }
    assert patch.strategic_patch(_ROOT, target, {"$retainKeys": ["set"]}) == {"set": ["x"]}
    assert patch.strategic_patch(_ROOT, target, {"$patch": "replace", "set": ["z"]}) == {"set": ["z"]}
    assert patch.strategic_patch(_ROOT, target, {"$patch": "delete"}) == {}
