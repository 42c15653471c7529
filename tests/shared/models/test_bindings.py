"""Patterns and bindings: what a source may do, and which namespaces are a team's."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.models.bindings import (
    ALLOW_ALL,
    FORBIDDEN_NAMESPACES,
    Bindings,
    NamespaceBinding,
    SourceAction,
    SourceBinding,
    bad_labels,
    bad_source,
    fits,
)

CI = SourceBinding("ci", "https://ci.example/*", ("search",), ("search", "search-*"))
BOUND = Bindings((CI,), (NamespaceBinding("ads", ("ads", "ads-*")), NamespaceBinding("team-*", ("shared",))))


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("*", "", True),
        ("a*", "a", True),
        ("a*", "ba", False),
        ("*a", "ba", True),
        ("a*c", "abbc", True),
        ("a*c", "abcd", False),
        ("a.c", "abc", False),
        ("[a]", "a", False),
        ("a?", "ab", False),
        ("a*", "a\nb", True),
        ("", "", True),
        ("", "a", False),
        ("ab*ba", "aba", False),
        ("*a*b*", "ba", False),
        ("*aa*a", "aaa", True),
        ("*a*a*a*", "aa", False),
        ("**", "", True),
        ("a*" * 250 + "b", "a" * 10_000, False),
    ],
)
def test_a_star_is_any_text_and_nothing_else_is_special(pattern: str, text: str, expected: bool) -> None:
    assert fits(pattern, text) is expected


_FEW = st.text("ab*", max_size=8)


@given(_FEW, st.text("ab", max_size=8))
def test_a_pattern_means_what_the_same_expression_means(pattern: str, text: str) -> None:
    assert fits(pattern, text) is (re.fullmatch(pattern.replace("*", ".*"), text) is not None)


@given(st.lists(st.text(), min_size=1, max_size=4), st.lists(st.text(), min_size=3, max_size=3))
def test_whatever_stands_where_the_stars_are_fits(parts: list[str], fillings: list[str]) -> None:
    literal = [part.replace("*", "") for part in parts]
    text = "".join(a + b for a, b in zip(literal, [*fillings[: len(literal) - 1], ""], strict=False))
    assert fits("*".join(literal), text)


@pytest.mark.parametrize(
    ("source", "action", "team", "namespace", "expected"),
    [
        ("https://ci.example/a", "submit", "search", "search-eu", True),
        ("https://ci.example/a", "withdraw", "search", "search", True),
        ("https://ci.example/a", "propose", "search", "search", False),
        ("https://ci.example/a", "submit", "ads", "search", False),
        ("https://ci.example/a", "submit", "search", "ads", False),
        ("https://ci.example", "submit", "search", "search", False),
        ("https://evil.example/https://ci.example/a", "submit", "search", "search", False),
    ],
)
def test_a_source_may_do_what_it_is_bound_to(
    source: str, action: str, team: str, namespace: str, expected: bool
) -> None:
    refusal = BOUND.refuse_source(source, SourceAction(action), team, namespace)
    assert (refusal is None) is expected
    assert ALLOW_ALL.refuse_source(source, SourceAction(action), team, namespace) is None
    assert Bindings().refuse_source(source, SourceAction(action), team, namespace) is not None


@pytest.mark.parametrize(
    ("team", "namespace", "expected"),
    [
        ("search", "search", True),
        ("search", "ads", False),
        ("ads", "ads-eu", True),
        ("team-a", "shared", True),
        ("team-a", "team-a", False),
    ],
)
def test_a_team_may_use_what_is_bound_to_it_or_else_the_namespace_of_its_name(
    team: str, namespace: str, expected: bool
) -> None:
    assert (BOUND.refuse_namespace(team, namespace) is None) is expected


@pytest.mark.parametrize(
    "namespace",
    [
        "kube-system",
        "kube-public",
        "kube-node-lease",
        "knative-serving",
        "knative-eventing",
        "kourier-system",
        "sentinel",
    ],
)
def test_what_belongs_to_the_platform_is_no_teams_whatever_is_bound(namespace: str) -> None:
    assert "no team may use it" in (ALLOW_ALL.refuse_namespace(namespace, namespace) or "")
    assert any(fits(pattern, namespace) for pattern in FORBIDDEN_NAMESPACES)


@pytest.mark.parametrize("pattern", ["", "a\n", "a\0", "\ud800", "x" * 513])
def test_a_pattern_of_sources_is_short_printable_text(pattern: str) -> None:
    assert bad_source(pattern)
    assert bad_source("/é*") is None


@pytest.mark.parametrize("patterns", [[], [""], ["A"], ["a/b"], ["a\n"], ["x" * 129], ["a"] * 101])
def test_patterns_of_teams_and_namespaces_are_of_dns_labels(patterns: list[str]) -> None:
    assert bad_labels(patterns)
    assert bad_labels(["*", "team-*", "a"]) is None
