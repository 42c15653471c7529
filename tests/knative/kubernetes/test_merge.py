"""Field sets and structured merge over a small schema with every kind of list and map."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from knative.local.kubernetes import fieldset, merge
from knative.local.kubernetes.merge import MISSING
from knative.local.kubernetes.schema import STRING, ListOf, MapOf, Struct

_ITEM = Struct("Item", {"name": STRING, "value": STRING})
_ROOT = Struct(
    "Root",
    {
        "scalar": STRING,
        "labels": MapOf(STRING),
        "atomic": MapOf(STRING, atomic=True),
        "items": ListOf(_ITEM, "map", ("name",), "name"),
        "finalizers": ListOf(STRING, "set"),
        "words": ListOf(STRING),
        "inner": Struct("Inner", {"scalar": STRING, "labels": MapOf(STRING)}),
    },
)

_words = st.sampled_from(["a", "b", "c"])
_labels = st.dictionaries(_words, _words, max_size=3)
_items = st.lists(
    st.fixed_dictionaries({"name": _words}, optional={"value": _words}), max_size=3, unique_by=lambda item: item["name"]
)
_objects = st.fixed_dictionaries(
    {},
    optional={
        "scalar": _words,
        "labels": _labels,
        "atomic": _labels,
        "items": _items,
        "finalizers": st.lists(_words, unique=True),
        "words": st.lists(_words),
        "inner": st.fixed_dictionaries({}, optional={"scalar": _words, "labels": _labels}),
    },
)


def _paths(tree: fieldset.Tree | None) -> set[tuple[str, ...]]:
    return set(fieldset.members(tree))


@given(_objects, _objects)
def test_set_operations_are_those_of_sets_of_paths(left: Any, right: Any) -> None:
    a, b = merge.fields_of(_ROOT, left), merge.fields_of(_ROOT, right)
    assert _paths(fieldset.union(a, b)) == _paths(a) | _paths(b)
    assert _paths(fieldset.intersection(a, b)) == _paths(a) & _paths(b)
    assert _paths(fieldset.difference(a, b)) == _paths(a) - _paths(b)


@given(_objects, _objects)
def test_merging_states_all_that_was_applied_and_merging_again_changes_nothing(live: Any, applied: Any) -> None:
    merged = merge.merge(_ROOT, live, applied)
    reached = {path[:n] for path in _paths(merge.fields_of(_ROOT, merged)) for n in range(len(path) + 1)}
    assert _paths(merge.fields_of(_ROOT, applied)) <= reached | {()}
    assert merge.merge(_ROOT, merged, applied) == merged
    assert merge.merge(_ROOT, {}, applied) == applied


@given(_objects, _objects)
def test_a_difference_is_empty_exactly_when_nothing_differs(old: Any, new: Any) -> None:
    delta = merge.compare(_ROOT, old, new)
    assert (delta == merge.SAME) == (old == new or _same_but_for_order(old, new))


def _same_but_for_order(old: Any, new: Any) -> bool:
    """Items of associative lists and sets are fields of their own, whatever their order."""

    def sorted_lists(obj: Any) -> Any:
        result = dict(obj)
        if "items" in result:
            result["items"] = sorted(result["items"], key=lambda item: item["name"])
        if "finalizers" in result:
            result["finalizers"] = sorted(result["finalizers"])
        return result

    return bool(sorted_lists(old) == sorted_lists(new))


@given(_objects)
def test_removing_all_fields_leaves_nothing_of_the_items_and_labels(value: Any) -> None:
    fields = merge.fields_of(_ROOT, value)
    left = merge.remove(_ROOT, value, fields) if fields else MISSING
    kept = {} if left is MISSING else left
    assert not {"scalar", "atomic", "words"} & kept.keys()
    assert not kept.get("labels")
    assert not kept.get("items")


def test_applied_items_keep_their_order_and_live_ones_their_place() -> None:
    live = {"items": [{"name": "x"}, {"name": "a"}, {"name": "y"}, {"name": "b"}]}
    applied = {"items": [{"name": "b", "value": "1"}, {"name": "a"}, {"name": "c"}]}
    names = [item["name"] for item in merge.merge(_ROOT, live, applied)["items"]]
    assert [name for name in names if name in "abc"] == ["b", "a", "c"]
    assert [name for name in names if name in "xy"] == ["x", "y"]


def test_paths_are_shown_as_the_api_server_shows_them() -> None:
    path = ("f:spec", "f:ports", 'k:{"containerPort":80,"protocol":"TCP"}', "f:name")
    assert fieldset.shown(path) == '.spec.ports[containerPort=80,protocol="TCP"].name'
    assert fieldset.shown(("f:finalizers", 'v:"x"')) == '.finalizers[="x"]'
