"""The sizes that a rollout goes through."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from knative.local.kubernetes.controllers import rollout
from knative.local.kubernetes.controllers.rollout import Bounds, Old


def _spec(replicas: int, surge: int | str = "25%", unavailable: int | str = "25%") -> dict[str, Any]:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    return {"replicas": replicas, "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}


def test_surge_is_rounded_up_and_unavailability_down() -> None:
    assert rollout.bounds(_spec(10)) == Bounds(3, 2)
    assert rollout.bounds(_spec(1)) == Bounds(1, 0)
    assert rollout.bounds(_spec(2, 0, "10%")) == Bounds(0, 1)


def test_a_new_replica_set_takes_what_the_surge_leaves() -> None:
    assert rollout.new_replicas(_spec(10), 0, 10) == 3
    assert rollout.new_replicas(_spec(10), 3, 13) == 3
    assert rollout.new_replicas(_spec(10), 12, 12) == 10


def test_unhealthy_old_pods_go_first() -> None:
    assert rollout.old_replicas(_spec(4, 1, 1), 1, 0, [Old(2, 0), Old(2, 2)]) == [1, 2]
    assert rollout.old_replicas(_spec(4, 1, 0), 1, 1, [Old(4, 4)]) == [3]
    assert rollout.old_replicas(_spec(2, 1, 0), 1, 0, [Old(2, 2)]) == [2]


@given(st.integers(1, 12), st.integers(0, 4), st.integers(0, 4))
def test_a_rollout_of_ready_pods_ends_within_its_bounds(replicas: int, surge: int, unavailable: int) -> None:
    spec = _spec(replicas, surge, unavailable)
    limits = rollout.bounds(spec)
    old, new = replicas, 0
    for _ in range(10 * replicas + 10):
        new = rollout.new_replicas(spec, new, old + new)
        (old,) = rollout.old_replicas(spec, new, new, [Old(old, old)])
        assert old + new <= replicas + limits.surge
        assert old + new >= replicas - limits.unavailable
        if (old, new) == (0, replicas):
            return
    raise AssertionError(f"stuck at {old} old and {new} new pods")


def test_templates_are_equal_but_for_the_hash_label() -> None:
    left = {"metadata": {"labels": {"a": "b"}}, "spec": {"x": 1}}
    right = {"metadata": {"labels": {"a": "b", rollout.HASH: "z"}}, "spec": {"x": 1}}
    assert rollout.same_template(left, right)
    assert not rollout.same_template(left, {**right, "spec": {"x": 2}})
    assert rollout.template_hash(left) != rollout.template_hash({**left, "spec": {"x": 2}})
