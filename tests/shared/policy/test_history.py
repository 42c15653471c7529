"""The history of a policy."""

from typing import Any

import pytest

from shared.policy.history import differences


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": [1, 2]}, {"a": [1]}, ["a: 1, 2 -> 1"]),
        ({"a": []}, {"a": ["x"]}, ["a: nothing -> x"]),
        ({"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 1}]}, ["a.1: b 2 -> nothing"]),
        ({"a": None}, {"a": {"b": True, "c": None}}, ["a: nothing -> b true"]),
    ],
)
def test_differences_name_the_field(before: Any, after: Any, said: list[str]) -> None:
    assert list(differences(before, after)) == said
