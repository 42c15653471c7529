"""Sets of fields as trees, in the shape of `fieldsV1`.

A tree maps path elements to trees: `f:name` a field or map key, `k:{...}` a list item by its merge keys, `v:...` an
item of a set. A path is a member of the set when its tree is empty, or has the child `.`; a tree with other children
alone only leads to members. `None` is the empty set. No function changes its arguments; results may share parts of
them.
"""

import json
from collections.abc import Iterator
from typing import Any

Tree = dict[str, Any]


def _split(tree: Tree) -> tuple[bool, Tree]:
    if not tree:
        return True, tree
    if "." in tree:
        return True, {key: child for key, child in tree.items() if key != "."}
    return False, tree


def _join(member: bool, children: Tree) -> Tree | None:
    if not children:
        return {} if member else None
    return {".": {}, **children} if member else children


def union(left: Tree | None, right: Tree | None) -> Tree | None:
    if left is None or right is None or left is right:
        return right if left is None else left
    a_member, a = _split(left)
    b_member, b = _split(right)
    children = dict(a)
    for key, child in b.items():
        mine = children.get(key)
        children[key] = child if mine is None else union(mine, child)
    return _join(a_member or b_member, children)


def difference(left: Tree | None, right: Tree | None) -> Tree | None:
    """The members of `left` that are not members of `right`."""
    if left is None or right is None:
        return left
    if left is right:
        return None
    a_member, a = _split(left)
    b_member, b = _split(right)
    children: Tree = {}
    for key, child in a.items():
        rest = difference(child, b.get(key))
        if rest is not None:
            children[key] = rest
    return _join(a_member and not b_member, children)


def intersection(left: Tree | None, right: Tree | None) -> Tree | None:
    if left is None or right is None:
        return None
    if left is right:
        return left
    a_member, a = _split(left)
    b_member, b = _split(right)
    children: Tree = {}
    for key in a.keys() & b.keys():
        both = intersection(a[key], b[key])
        if both is not None:
            children[key] = both
    return _join(a_member and b_member, children)


def without(tree: Tree | None, paths: tuple[tuple[str, ...], ...]) -> Tree | None:
    """`tree` without the given paths and everything below them."""
    for path in paths:
        if tree is None:
            return None
        tree = _cut(tree, path)
    return tree


def _cut(tree: Tree, path: tuple[str, ...]) -> Tree | None:
    head = path[0]
    child = tree.get(head)
    if child is None:
        return tree
    rest = {key: value for key, value in tree.items() if key != head}
    if len(path) > 1 and (cut := _cut(child, path[1:])) is not None:
        rest[head] = cut
    return rest or None


def members(tree: Tree | None, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of the members, in the order of the API server's messages: by path element."""
    if tree is None:
        return
    member, children = _split(tree)
    if member:
        yield prefix
    for key in sorted(children):
        yield from members(children[key], (*prefix, key))


def shown(path: tuple[str, ...]) -> str:
    """A path as the API server prints it: `.spec.template.spec.containers[name="a"].image`."""
    text = ""
    for element in path:
        kind, _, value = element.partition(":")
        if kind == "f":
            text += f".{value}"
        elif kind == "k":
            keys = json.loads(value)
            text += "[" + ",".join(f"{key}={json.dumps(keys[key])}" for key in sorted(keys)) + "]"
        else:
            text += f"[={value}]"
    return text
