"""Capacity: whoever may wait does, exactly when its GPUs do not fit beside those that its cluster holds."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.models.amounts import Amounts
from shared.models.plan import Verb
from shared.policy.decision import PlanView, PolicyDecision
from shared.policy.facts import Facts, ScopeUsage
from shared.policy.vocabulary import ScopeKind
from tests.support.policies import decide, stored, view

NAMES = ("H100", "L4", "")
COUNTS = st.fixed_dictionaries({name: st.integers(0, 5) for name in NAMES})
CAPACITY = st.dictionaries(st.sampled_from(NAMES[:2]), st.integers(0, 6))


def lines(counts: dict[str, int]) -> dict[str, Amounts]:
    return {sku: Amounts(count, gpus=count) for sku, count in counts.items() if count}


def on(held: dict[str, int], capacity: dict[str, int] | None, plan: PlanView, *quotas: Any) -> PolicyDecision:
    """The decision on a plan for a cluster that has and holds this."""
    facts = Facts({plan.counting(kind): ScopeUsage(lines(held)) for kind in ScopeKind}, capacity=capacity)
    return decide(plan, [stored("quota", *quotas)] if quotas else [], facts)


def fits(counts: dict[str, int], capacity: dict[str, int]) -> bool:
    """Whether there is a place for each, tried out: what asks for any GPU is spread in every way there is."""
    for h100s in range(counts[""] + 1):
        spread = {"H100": counts["H100"] + h100s, "L4": counts["L4"] + counts[""] - h100s}
        if all(count <= capacity.get(sku, 0) for sku, count in spread.items()):
            return True
    return False


PER_SKU = st.tuples(st.integers(0, 4), st.integers(0, 4))


@given(PER_SKU, PER_SKU, PER_SKU, COUNTS)
def test_what_queues_waits_exactly_when_there_is_no_place_for_it(
    named: tuple[int, int], any_sku: tuple[int, int], free: tuple[int, int], asked: dict[str, int]
) -> None:
    held = {"H100": named[0], "L4": named[1], "": sum(any_sku)}
    capacity = {sku: named[n] + any_sku[n] + free[n] for n, sku in enumerate(("H100", "L4"))}
    decision = on(held, capacity, view(lines=lines(asked), queue=True))
    assert decision.approved is fits({name: held[name] + asked[name] for name in NAMES}, capacity)
    assert decision.waits is not decision.approved


@given(COUNTS, COUNTS, COUNTS, st.none() | CAPACITY, st.sampled_from(Verb), st.booleans())
def test_capacity_only_makes_wait_and_only_who_asks_for_that_and_takes_more(
    others: dict[str, int],
    held: dict[str, int],
    asked: dict[str, int],
    capacity: dict[str, int] | None,
    verb: Verb,
    queue: bool,  # drawn
) -> None:
    plan = view(lines=lines(asked), held=lines(held), verb=verb, queue=queue)
    decision = on({name: others[name] + held[name] for name in NAMES}, capacity, plan)
    assert decision.approved or decision.waits
    if not decision.approved:
        assert capacity is not None
        assert queue
        assert verb not in (Verb.ROLLBACK, Verb.RESCHEDULE, Verb.REMOVE)
        assert any(asked[name] > held[name] for name in NAMES)


def waits_for(decision: PolicyDecision) -> list[list[str]]:
    return [sorted(map(str, finding.waits_for)) for finding in decision.violations]


def test_it_is_told_of_which_cluster_how_much_of_what() -> None:
    plan = view(lines=lines({"H100": 3}), queue=True)
    [finding] = on({"H100": 15}, {"H100": 16, "L4": 1}, plan).violations
    assert (finding.policy, finding.rule, finding.field) == ("", "capacity", "gpus[H100]")
    assert (finding.limit, finding.observed) == ("16", "18")
    assert finding.message == "cluster eu would hold 18 H100 GPUs; it has 16"
    assert sorted(map(str, finding.waits_for)) == ["cluster/eu gpus[H100]"]
    [finding] = on({"H100": 15}, {"H100": 16, "L4": 1}, view(lines=lines({"": 3}), queue=True)).violations
    assert (finding.field, finding.limit, finding.observed) == ("gpus", "17", "18")
    assert finding.message == "cluster eu would hold 18 GPUs; it has 17"
    assert sorted(map(str, finding.waits_for)) == ["cluster/eu gpus"]


def test_what_is_larger_than_its_cluster_waits_for_that_to_grow() -> None:
    assert waits_for(on({}, {"H100": 2}, view(lines=lines({"H100": 3}), queue=True))) == [["cluster/eu capacity[H100]"]]
    assert waits_for(on({}, {"H100": 2}, view(lines=lines({"": 3}), queue=True))) == [["cluster/eu capacity"]]
    assert waits_for(on({}, {}, view(lines=lines({"L4": 1}), queue=True))) == [["cluster/eu capacity[L4]"]]


def test_what_waits_on_the_cluster_for_one_sku_takes_none_of_another() -> None:
    """L4s were promised to plans that do not queue, more than there are."""
    capacity = {"H100": 2, "L4": 2}
    assert on({"L4": 9}, capacity, view(lines=lines({"H100": 2}), queue=True)).approved
    assert on({"L4": 9}, capacity, view(lines=lines({"": 2}), queue=True)).approved
    assert not on({"L4": 9}, capacity, view(lines=lines({"": 3}), queue=True)).approved


def test_what_is_held_already_is_not_refused_for_what_is_taken_besides() -> None:
    capacity = {"H100": 2, "L4": 2}
    beside = view(lines=lines({"H100": 3, "L4": 1}), held=lines({"H100": 3}), queue=True)
    assert on({"H100": 3}, capacity, beside).approved
    instead = view(lines=lines({"H100": 2}), held=lines({"": 2}), queue=True)
    assert on({"": 9}, capacity, instead).approved


@pytest.mark.parametrize(
    ("rule", "waits"),
    [({"type": "quota", "gpus": 4}, True), ({"type": "quota", "scope": "plan", "gpus": 1}, False)],
    ids=["a quota with room later", "a quota that nothing mends"],
)
def test_it_waits_only_when_everything_that_refuses_it_can_be_waited_for(rule: dict[str, Any], *, waits: bool) -> None:
    decision = on({"H100": 4}, {"H100": 4}, view(lines=lines({"H100": 2}), queue=True), rule)
    assert [finding.rule for finding in decision.violations] == ["quota", "capacity"]
    assert decision.waits is waits
    assert decision.determining == ("quota",)


def test_where_the_usage_of_the_cluster_is_not_known_nothing_is_refused() -> None:
    assert decide(view(queue=True), [], Facts(capacity={})).approved


def test_more_gpus_is_more_of_any_sku() -> None:
    for held, asked in itertools.product(({"H100": 2}, {"": 2}, {"H100": 1, "L4": 1}), repeat=2):
        assert view(lines=lines(asked), held=lines(held)).adds_gpus is (held != asked)
    assert not view(lines=lines({"L4": 1}), held=lines({"L4": 2})).adds_gpus
    assert not view(lines=lines({"L4": 3}), held={}, verb=Verb.ROLLBACK).adds_gpus
