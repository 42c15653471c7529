from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knative.local.broker.filters import matches, passes
from knative.local.resources.manifests import Filter, TriggerSpec

EVENT = {
    "specversion": "1.0",
    "id": "1",
    "source": "/a/b",
    "type": "dev.sentinel.plan.proposed.v1",
    "time": "2026-01-01T10:00:00+02:00",
    "priority": "5",
    "urgent": "true",
}


def trigger(**fields: Any) -> TriggerSpec:
    return TriggerSpec.model_validate({"broker": "default", "subscriber": {"uri": "http://x"}, **fields})


@pytest.mark.parametrize(
    ("dialect", "passing"),
    [
        ({}, True),
        ({"exact": {"type": "dev.sentinel.plan.proposed.v1"}}, True),
        ({"exact": {"type": "dev.sentinel.PLAN.proposed.v1"}}, False),
        ({"exact": {"type": "dev.sentinel.plan"}}, False),
        ({"exact": {"type": EVENT["type"], "source": "/a/b"}}, True),
        ({"exact": {"type": EVENT["type"], "source": "/a"}}, False),
        ({"exact": {"absent": ""}}, True),
        ({"exact": {"type": ""}}, False),
        ({"exact": {"priority": "5", "urgent": "true"}}, True),
        ({"exact": {"time": "2026-01-01T08:00:00Z"}}, True),
        ({"exact": {"time": "2026-01-01T10:00:00+02:00"}}, False),
        ({"exact": {}}, True),
        ({"prefix": {"type": "dev.sentinel.plan."}}, True),
        ({"prefix": {"type": "dev.sentinel.workload."}}, False),
        ({"prefix": {"type": ""}}, True),
        ({"prefix": {"absent": "x"}}, False),
        ({"suffix": {"type": ".v1"}}, True),
        ({"suffix": {"type": ".v2"}}, False),
        ({"not": {"prefix": {"absent": "x"}}}, True),
        ({"not": {"suffix": {"type": ".v1"}}}, False),
        ({"all": []}, True),
        ({"any": []}, False),
        ({"all": [{"prefix": {"type": "dev."}}, {"suffix": {"type": ".v1"}}]}, True),
        ({"all": [{"prefix": {"type": "dev."}}, {"suffix": {"type": ".v2"}}]}, False),
        ({"any": [{"prefix": {"type": "org."}}, {"suffix": {"type": ".v1"}}]}, True),
        ({"any": [{"prefix": {"type": "org."}}, {"suffix": {"type": ".v2"}}]}, False),
        ({"exact": {"data": "{}"}}, False),
    ],
)
def test_a_dialect(dialect: dict[str, Any], passing: bool) -> None:
    assert passes(Filter.model_validate(dialect), EVENT) is passing


@pytest.mark.parametrize(
    ("attributes", "matching"),
    [
        ({}, True),
        ({"type": EVENT["type"]}, True),
        ({"type": "other"}, False),
        ({"type": ""}, True),
        ({"absent": ""}, True),
        ({"absent": "x"}, False),
    ],
)
def test_the_attributes_filter(attributes: dict[str, str], matching: bool) -> None:
    assert matches(trigger(filter={"attributes": attributes}), EVENT) is matching


def test_entries_of_filters_are_anded() -> None:
    entries = [{"prefix": {"type": "dev."}}, {"suffix": {"type": ".v2"}}]
    assert not matches(trigger(filters=entries), EVENT)
    assert matches(trigger(filters=entries[:1]), EVENT)


def test_filters_replace_filter() -> None:
    attributes = {"attributes": {"type": "other"}}
    assert matches(trigger(filter=attributes, filters=[{"prefix": {"type": "dev."}}]), EVENT)
    assert not matches(trigger(filter=attributes, filters=[]), EVENT)


NAMES = st.sampled_from(["type", "source", "absent", "priority"])
VALUES = st.sampled_from(["", "d", "dev.sentinel.plan.proposed.v1", "/a/b", "5", ".v1"])
LEAVES = st.dictionaries(NAMES, VALUES, max_size=2).flatmap(
    lambda pairs: st.sampled_from([{"exact": pairs}, {"prefix": pairs}, {"suffix": pairs}])
)
DIALECTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda x: {"not": x}, inner),
        st.builds(lambda x: {"all": x}, st.lists(inner, max_size=3)),
        st.builds(lambda x: {"any": x}, st.lists(inner, max_size=3)),
    ),
    max_leaves=6,
)


def holds(dialect: dict[str, Any]) -> bool:
    return passes(Filter.model_validate(dialect), EVENT)


@given(DIALECTS)
def test_not_is_the_complement(dialect: dict[str, Any]) -> None:
    assert holds({"not": dialect}) is not holds(dialect)


@given(st.lists(DIALECTS, max_size=4))
def test_de_morgan(dialects: list[dict[str, Any]]) -> None:
    assert holds({"not": {"any": dialects}}) is holds({"all": [{"not": each} for each in dialects]})
