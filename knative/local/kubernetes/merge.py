"""Structured merge: fields of a value, the difference of two values, and the merge that server-side apply does.

The rules are those of Kubernetes' structured-merge-diff:

- a scalar, an atomic list, map or struct is one field; so is a map or list that is empty on both sides;
- an item of a map or of an associative list is a field besides its content (`.` in `fieldsV1`);
- merging takes the applied value where there is one and the live value elsewhere; items of an associative list are
  merged by key. Applied items keep the order of the applied list. Live items keep their place between the items that
  both have, and come before the items that are only applied.

Values are plain JSON; `MISSING` is an absent field, since `null` is a value. No function changes its arguments.
"""

import json
import sys
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from knative.local.kubernetes.fieldset import Tree
from knative.local.kubernetes.schema import ANY, KEY_DEFAULTS, ListOf, MapOf, Scalar, Struct, Type

MISSING: Final[Any] = object()


@dataclass(frozen=True)
class Delta:
    """What distinguishes two values; each is a field set or `None`."""

    added: Tree | None = None
    removed: Tree | None = None
    modified: Tree | None = None


SAME = Delta()


def item_key(type_: ListOf, item: Any) -> str:
    """The path element of a list item. A merge key that is absent takes its default, or null."""
    if type_.relation == "set":
        return "v:" + json.dumps(item, separators=(",", ":"))
    source = item if isinstance(item, dict) else {}
    values = tuple([source.get(key, KEY_DEFAULTS.get(key)) for key in type_.keys])
    known = _ELEMENTS.get((type_.keys, values))
    if known is None:
        keys = dict(sorted(zip(type_.keys, values, strict=True)))
        known = "k:" + json.dumps(keys, separators=(",", ":"))
        if len(_ELEMENTS) < _MOST_ELEMENTS:
            _ELEMENTS[type_.keys, values] = known
    return known


class _Fields(dict[str, str]):
    """`f:name` for a name, made once: field sets are most of what an object weighs, and share these strings."""

    def __missing__(self, name: str) -> str:
        element = sys.intern(f"f:{name}")
        if len(self) < _MOST_ELEMENTS:
            self[name] = element
        return element


_MOST_ELEMENTS = 10_000
_ELEMENTS: dict[tuple[tuple[str, ...], tuple[Any, ...]], str] = {}
_FIELD = _Fields()


def _child_type(type_: Struct | MapOf, name: str) -> Type:
    return type_.fields.get(name, ANY) if isinstance(type_, Struct) else type_.element


def _is_leaf(type_: Type, value: Any) -> bool:
    if isinstance(type_, Scalar):
        return True
    if isinstance(type_, ListOf):
        return type_.relation == "atomic" or not isinstance(value, list)
    return type_.atomic or not isinstance(value, dict)


def _embedded(struct: Struct) -> bool:
    """Whether Kubernetes holds this struct by value, so that it is never seen to be added."""
    return struct.name.endswith(("Spec", "Status", "Strategy")) or struct.name == "V1ObjectMeta"


# Lists that Kubernetes always writes, so that they are never seen to be added.
_ALWAYS_THERE = {("V1PodSpec", "containers")}


def fields_of(type_: Type, value: Any) -> Tree | None:
    """The set of fields that `value` states, as server-side apply owns them."""
    if _is_leaf(type_, value):
        return {}
    tree: Tree = {}
    if isinstance(type_, ListOf):
        for item in value:
            child = None if type_.relation == "set" else fields_of(type_.element, item)
            tree[item_key(type_, item)] = {".": {}, **child} if child else {}
        return tree or None
    assert isinstance(type_, Struct | MapOf)
    in_map = isinstance(type_, MapOf)
    for name, item in value.items():
        child = fields_of(_child_type(type_, name), item)
        if child is None:
            if in_map or isinstance(item, dict):
                tree[_FIELD[name]] = {}
        else:
            tree[_FIELD[name]] = {".": {}, **child} if in_map and child else child
    return tree or None


def _all_fields(type_: Type, value: Any) -> Tree:
    """Every field of a value that was added or removed as a whole, with the maps, lists and pointers that hold them."""
    if _is_leaf(type_, value) or not value:
        return {}
    if isinstance(type_, ListOf):
        if type_.relation == "set":
            return {".": {}, **{item_key(type_, item): {} for item in value}}
        return {".": {}, **{item_key(type_, item): {".": {}, **_all_fields(type_.element, item)} for item in value}}
    assert isinstance(type_, Struct | MapOf)
    tree = {}
    for name, item in value.items():
        child = _child_type(type_, name)
        if item != {} or not isinstance(child, Struct) or not _embedded(child):
            tree[_FIELD[name]] = _all_fields(child, item)
    if isinstance(type_, MapOf):
        return {".": {}, **tree}
    for name in value:
        if (type_.name, name) in _ALWAYS_THERE and len(tree[_FIELD[name]]) > 1:
            tree[_FIELD[name]].pop(".", None)
    return tree if _embedded(type_) else {".": {}, **tree}


def compare(type_: Type, old: Any, new: Any) -> Delta:
    """What is added, removed and modified from `old` to `new`."""
    if old is new or old == new:
        return SAME
    if old is MISSING and new == {} and isinstance(type_, Struct) and _embedded(type_):
        return SAME
    if old is MISSING or (old is None and not _is_leaf(type_, new)):
        return Delta(added=_all_fields(type_, new))
    if new is MISSING or (new is None and not _is_leaf(type_, old)):
        return Delta(removed=_all_fields(type_, old))
    if _is_leaf(type_, old) or _is_leaf(type_, new):
        return Delta(modified={})
    if isinstance(type_, ListOf):
        return _compare_lists(type_, old, new)
    assert isinstance(type_, Struct | MapOf)
    return _compare_children(
        {name: (_child_type(type_, name), item) for name, item in old.items()},
        {name: (_child_type(type_, name), item) for name, item in new.items()},
        named=True,
    )


def _compare_lists(type_: ListOf, old: list[Any], new: list[Any]) -> Delta:
    return _compare_children(
        {item_key(type_, item): (type_.element, item) for item in old},
        {item_key(type_, item): (type_.element, item) for item in new},
        named=False,
    )


def _compare_children(old: dict[str, tuple[Type, Any]], new: dict[str, tuple[Type, Any]], *, named: bool) -> Delta:
    added: Tree = {}
    removed: Tree = {}
    modified: Tree = {}
    for name, (type_, value) in new.items():
        before = old.get(name)
        if before is not None and before[1] is value:
            continue
        delta = compare(type_, MISSING if before is None else before[1], value)
        element = _FIELD[name] if named else name
        if delta.added is not None:
            added[element] = delta.added
        if delta.removed is not None:
            removed[element] = delta.removed
        if delta.modified is not None:
            modified[element] = delta.modified
    for name in old.keys() - new.keys():
        type_, value = old[name]
        removed[_FIELD[name] if named else name] = _all_fields(type_, value)
    return Delta(added or None, removed or None, modified or None)


def merge(type_: Type, live: Any, applied: Any) -> Any:
    """`live` with everything that `applied` states."""
    if applied is MISSING:
        return live
    if live is MISSING or live is None or _is_leaf(type_, applied) or _is_leaf(type_, live):
        return applied
    if isinstance(type_, ListOf):
        return _merge_lists(type_, live, applied)
    assert isinstance(type_, Struct | MapOf)
    merged = dict(live)
    for name, item in applied.items():
        merged[name] = merge(_child_type(type_, name), live.get(name, MISSING), item)
    return merged


def _merge_lists(type_: ListOf, live: list[Any], applied: list[Any]) -> list[Any]:
    lives = {item_key(type_, item): item for item in live}
    applies = {item_key(type_, item): item for item in applied}
    shared = deque(key for key in applies if key in lives)
    waiting = deque(lives)
    merged: list[Any] = []
    for key, item in applies.items():
        while waiting and waiting[0] != key:
            if waiting[0] not in applies:
                merged.append(lives[waiting.popleft()])
            elif waiting[0] != shared[0]:
                waiting.popleft()  # applied in another order: it comes in its turn
            else:
                break
        if waiting and waiting[0] == key:
            waiting.popleft()
        if shared and shared[0] == key:
            shared.popleft()
        merged.append(merge(type_.element, lives.get(key, MISSING), item))
    return merged + [lives[key] for key in waiting]


def named_as_members(tree: Tree | None) -> Tree | None:
    """`tree` with every named field on the way to a member made a member itself; list items stay as they are."""
    if not tree:
        return tree
    return {
        key: {".": {}, **(named_as_members(child) or {})} if child and key.startswith("f:") else named_as_members(child)
        for key, child in tree.items()
    }


def remove(type_: Type, value: Any, fields: Tree) -> Any:
    """`value` without the given fields and all they hold; `MISSING` when nothing is left of it."""
    if _is_leaf(type_, value):
        return value
    if isinstance(type_, ListOf):
        items = [(type_.element, item, fields.get(item_key(type_, item))) for item in value]
        kept = [left for element, item, child in items if (left := _left_of(element, item, child)) is not MISSING]
        return kept or MISSING
    assert isinstance(type_, Struct | MapOf)
    result = {}
    for name, item in value.items():
        left = _left_of(_child_type(type_, name), item, fields.get(_FIELD[name]))
        if left is not MISSING:
            result[name] = left
    return result or MISSING


def _left_of(type_: Type, value: Any, fields: Tree | None) -> Any:
    if fields is None:
        return value
    if not fields or "." in fields:
        return MISSING
    return remove(type_, value, fields)
