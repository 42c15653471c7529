"""Which policies have a say: by buckets the same as by asking each, in the same order, whatever they select."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.models.plan import Verb
from shared.policy.decision import PlanView
from shared.policy.policy_set import PolicySet, StoredPolicy, selects
from tests.support.policies import NOW, PLANS, UNREADABLE, amounts, policies, stored, view

DENY: dict[str, Any] = {"type": "quota", "scope": "plan", "replicas": 0}
VALIDITY: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {"valid_from": NOW}, {"valid_until": NOW}, {"valid_until": NOW + timedelta(1)}]
)


def by_asking_each(found: list[StoredPolicy], plan: PlanView) -> list[StoredPolicy]:
    return sorted(
        (p for p in found if p.document is None or (p.document.in_force(NOW) and selects(p.document.selector, plan))),
        key=lambda p: p.order,
    )


@given(st.lists(VALIDITY.flatmap(lambda fields: policies(**fields)) | UNREADABLE, max_size=30), PLANS)
def test_buckets_find_what_asking_each_finds(found: list[StoredPolicy], plan: PlanView) -> None:
    assert PolicySet(found).matching(plan, NOW) == by_asking_each(found, plan)


def test_the_order_is_unreadable_then_priority_then_name_then_id() -> None:
    expected = [
        StoredPolicy("z", None, "bad"),
        stored("b", DENY, priority=9),
        stored("a", DENY, number=1),
        stored("a", DENY, number=2),
        stored("b", DENY),
    ]
    assert PolicySet(reversed(expected)).matching(view(), NOW) == expected


def test_disabled_policies_are_left_out() -> None:
    assert PolicySet([stored("a", DENY, enabled=False)]).matching(view(), NOW) == []
    assert PolicySet([stored("a", DENY, enabled=False)]).policies == ()


def test_a_policy_in_several_buckets_is_found_once() -> None:
    policy = stored("a", DENY, selector={"skus": ["L4", "H100"]})
    plan = view(lines={"L4": amounts(1), "H100": amounts(1)})
    assert PolicySet([policy]).matching(plan, NOW) == [policy]


def test_any_gpu_is_a_gpu_of_every_sku() -> None:
    policy = stored("a", DENY, selector={"skus": ["H100"]})
    assert PolicySet([policy]).matching(view(lines={"": amounts(1)}), NOW) == [policy]


class CountedPlan:
    """A plan that counts how often its team is looked at: once to find buckets, and once for each that is checked."""

    def __init__(self, plan: PlanView) -> None:
        self.plan = plan
        self.looks = 0

    def __getattr__(self, name: str) -> Any:
        self.looks += name == "team"
        return getattr(self.plan, name)


@pytest.mark.parametrize(
    "others",
    [
        lambda n: {"teams": [f"team-{n}"], "matchLabels": {"env": "prod"}},
        lambda n: {"teams": [f"team-{n}"], "verbs": list(Verb)},
        lambda n: {"teams": [f"team-{n}"], "clusters": ["eu"], "namespaces": ["prod"]},
        lambda n: {"skus": [f"GPU-{n}"], "teams": ["search"]},
        lambda n: {"matchExpressions": [{"key": "app", "operator": "In", "values": [f"a-{n}"]}], "teams": ["search"]},
    ],
)
def test_what_policies_share_does_not_make_a_plan_check_them_all(others: Any) -> None:
    found = PolicySet(stored(f"p-{n}", DENY, selector=others(n)) for n in range(200))
    plan = CountedPlan(view(labels={"env": "prod"}))
    assert found.matching(plan, NOW) == []  # type: ignore[arg-type]  # a plan in everything but its class
    assert plan.looks == 1


def test_ids_tell_policies_of_one_name_apart() -> None:
    first, second = stored("a", DENY, number=1), stored("a", DENY, number=2)
    assert [p.id for p in PolicySet([second, first]).matching(view(), NOW)] == [uuid.UUID(int=1), uuid.UUID(int=2)]
