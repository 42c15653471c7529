"""YAML as its two versions agree on it.

YAML 1.1 and 1.2 read many plain scalars differently: `no` is false or text, `22:22` is 1342 or text, `0755` is 493 or
755, `2026-12-24` is a date or text. A plain scalar has a type here only where both versions give it the same one, and
is text everywhere else. Text is never wrong: the model that reads a field knows what the field has to be.

    true, True, TRUE, false, ...     a boolean     (YAML 1.2.2, section 10.3.2, and yaml.org/type/bool)
    null, Null, NULL, ~, nothing     null
    12, -3, 0x1f                     an integer
    1.5, -0.5e+3, .inf, .nan         a float
    yes, on, 0755, 1_000, 22:22      text
    2026-12-24, 10m, 1.2.3           text

A key that appears twice, an anchor that is set twice, a tag and an alias that multiplies a document are refused.
"""

import re
from typing import Any

import yaml

MAX_NODES = 1_000_000
"""The nodes of one document, each counted as often as aliases repeat it. A file of 10 MB has fewer."""

_CORE_TAGS = ("null", "bool", "int", "float", "str", "seq", "map")
_PREFIX = "tag:yaml.org,2002:"
_PLAIN_SCALARS = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?[0-9]+\.[0-9]*(?:[eE][-+][0-9]+)?|\.[0-9]+(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
)
_ADVICE = (
    ("'\\t'", "indent with spaces, not with tabs"),
    ("that cannot start any token", "put the text in quotes"),
    ("while scanning an alias", "put text that begins with * in quotes"),
    ("undefined alias", "set the anchor before it is used, or put text that begins with * in quotes"),
    ("mapping values are not allowed", "put text that has ': ' in it in quotes, and check the indentation"),
    ("could not determine a constructor", "leave the tag out"),
)


class InvalidYaml(ValueError):
    """Text that is not YAML, or that two readers may read differently. line: where, from 1, if it is known."""

    def __init__(self, message: str, line: int | None = None) -> None:
        self.line = line
        super().__init__(message)


def load_all(text: str) -> list[Any]:
    """The documents of a text. Raises InvalidYaml."""
    try:
        return list(yaml.load_all(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InvalidYaml(_explained(error), mark.line + 1 if mark else None) from None
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidYaml(" ".join(str(error).split())) from None
    except RecursionError:
        raise InvalidYaml("the document is nested too deeply") from None


class _Loader(yaml.SafeLoader):
    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs of PyYAML leave it out
        mark = event.start_mark
        anchor = None if isinstance(event, yaml.AliasEvent) else getattr(event, "anchor", None)
        if anchor is not None and anchor in self.anchors:
            first = self.anchors[anchor].start_mark.line + 1
            raise yaml.composer.ComposerError(
                problem=f"the anchor &{anchor} is set a second time, first in line {first}: give one another name",
                problem_mark=mark,
            )
        node = super().compose_node(parent, index)
        if isinstance(event, yaml.AliasEvent) and id(node) not in self._sizes:
            raise yaml.composer.ComposerError(
                problem=f"what the anchor &{event.anchor} marks holds itself: write it out",
                problem_mark=mark,
            )
        self._sizes[id(node)] = size = 1 + sum(self._sizes[id(child)] for child in _children(node))
        if size > MAX_NODES:
            raise yaml.composer.ComposerError(
                problem=f"the document has more than {MAX_NODES} nodes once its aliases are written out",
                problem_mark=mark,
            )
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:  # the last of two would win in silence
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value[:60]!r} appears twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}
_Loader.yaml_constructors = {
    tag: make
    for tag, make in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag in {_PREFIX + name for name in _CORE_TAGS}
}
for _name, _pattern, _first in _PLAIN_SCALARS:
    _Loader.add_implicit_resolver(
        _PREFIX + _name, re.compile(rf"(?:{_pattern})\Z", re.ASCII), ["" if c == "\0" else c for c in _first]
    )


def _children(node: yaml.Node | None) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _explained(error: yaml.MarkedYAMLError) -> str:
    """What PyYAML found, what it was reading when it did, and what to write instead."""
    found = f"{error.context}: {error.problem}" if error.context else str(error.problem)
    advice = next((advice for sign, advice in _ADVICE if sign in found), None)
    return f"{found}: {advice}" if advice else found
