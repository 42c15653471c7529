"""YAML as its two versions agree on it: what has a type, what is text, and what is refused with its fix."""

from typing import Any

import pytest

from functions.cli import strict_yaml
from functions.cli.strict_yaml import InvalidYaml


def value_of(text: str) -> Any:
    [document] = strict_yaml.load_all(f"a: {text}\n")
    return document["a"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("", None),
        ("~", None),
        ("null", None),
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("-0.5e+3", -500.0),
        (".5", 0.5),
        ("[80, 443]", [80, 443]),
    ],
)
def test_a_scalar_that_both_versions_read_alike_has_its_type(text: str, value: Any) -> None:
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    ["yes", "no", "NO", "on", "off", "y", "22:22", "1:30", "01:30:00", "0755", "0o17", "1_000", "0b11", "123e4",
     "1.2.3", "2026-12-24", "2026-12-24T18:00:00Z", "2026-13-45", "10m", "=", "190:20:30.15"],
)  # fmt: skip
def test_a_scalar_that_the_versions_read_differently_is_text(text: str) -> None:
    assert value_of(text) == text


def test_quotes_make_anything_text() -> None:
    assert [value_of(text) for text in ('"true"', "'12'", '""')] == ["true", "12", ""]


def test_anchors_and_merge_keys_work_as_they_did() -> None:
    [document] = strict_yaml.load_all("base: &base {a: 1, b: 2}\nmore: {<<: *base, b: 3}\n")
    assert document["more"] == {"a": 1, "b": 3}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: &x 1\nb: &x 2\n", 2, "the anchor &x is set a second time, first in line 1: give one another name"),
        ("a: *x\n", 1, "found undefined alias 'x': set the anchor before it is used, or put text that begins with *"),
        ("a: *.example.com\n", 1, "put text that begins with * in quotes"),
        ("a: &x [*x]\n", 1, "what the anchor &x marks holds itself"),
        ("a:\n\tb: 1\n", 2, "indent with spaces, not with tabs"),
        ("a: @x\n", 1, "put the text in quotes"),
        ("a: b: c\n", 1, "put text that has ': ' in it in quotes"),
        ("a: 1\na: 2\n", 2, "the key 'a' appears twice"),
        ("a: !Ref b\n", 1, "could not determine a constructor for the tag '!Ref': leave the tag out"),
        ("a: !!binary aGk=\n", 1, "leave the tag out"),
        ("a: !!timestamp 2026-13-45\n", 1, "leave the tag out"),
        ("? [a]\n: b\n", 1, "found unhashable key"),
        ("- " * 2000, None, "nested too deeply"),
    ],
)
def test_what_is_refused_names_the_place_and_the_fix(text: str, line: int | None, said: str) -> None:
    with pytest.raises(InvalidYaml) as refusal:
        strict_yaml.load_all(text)
    assert refusal.value.line == line
    assert said in str(refusal.value)


def test_aliases_cannot_make_a_small_file_a_huge_document() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    with pytest.raises(InvalidYaml, match="has more than 1000000 nodes once its aliases are written out"):
        strict_yaml.load_all("\n".join(lines))
