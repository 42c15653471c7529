"""Placement by the index of free capacity."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from knative.local.kubernetes.controllers.capacity import GPU, Capacity, Demand, demand_of

Object = dict[str, Any]


def _node(name: str, gpus: int = 8, cpu: str = "96", **more: Any) -> Object:
    amounts = {"cpu": cpu, "memory": "1Ti", "pods": "110", GPU: str(gpus)}
    labels = {"kubernetes.io/hostname": name, "nvidia.com/gpu.product": more.pop("product", "H100")}
    return {"metadata": {"name": name, "labels": labels}, "spec": more, "status": {"allocatable": amounts}}


def _demand(gpus: int = 0, cpu: str = "1", **spec: Any) -> Demand:
    requests = {"cpu": cpu} | ({GPU: str(gpus)} if gpus else {})
    return demand_of({"spec": {"containers": [{"resources": {"requests": requests}}]} | spec})


def _affinity(product: str) -> Object:
    terms = [{"matchExpressions": [{"key": "nvidia.com/gpu.product", "operator": "In", "values": [product]}]}]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def _capacity(*nodes: Object) -> Capacity:
    capacity = Capacity()
    for node in nodes:
        capacity.put_node(node)
    return capacity


def test_the_fullest_node_that_has_room_is_taken() -> None:
    capacity = _capacity(_node("a"), _node("b"), _node("c"))
    capacity.assign("1", "b", _demand(6))
    assert capacity.find(_demand(2)) == "b"
    assert capacity.find(_demand(3)) == "a"
    capacity.assign("2", "b", _demand(2))
    assert capacity.find(_demand(1)) == "a"


def test_a_pod_without_gpus_stays_off_nodes_with_free_ones_if_it_can() -> None:
    capacity = _capacity(_node("gpu"), _node("plain", gpus=0))
    assert capacity.find(_demand()) == "plain"


def test_released_capacity_is_free_again() -> None:
    capacity = _capacity(_node("a"))
    capacity.assign("1", "a", _demand(8))
    assert capacity.find(_demand(1)) is None
    assert capacity.release("1") == "a"
    assert capacity.release("1") == ""
    assert capacity.find(_demand(8)) == "a"


def test_affinity_selector_taints_and_cordons_are_honoured() -> None:
    taint = {"key": "k", "value": "v", "effect": "NoSchedule"}
    capacity = _capacity(
        _node("h"), _node("l", product="L4"), _node("t", taints=[taint]), _node("u", unschedulable=True)
    )
    assert capacity.find(_demand(1, affinity=_affinity("L4"))) == "l"
    assert capacity.find(_demand(1, nodeSelector={"kubernetes.io/hostname": "t"})) is None
    tolerant: Object = {
        "nodeSelector": {"kubernetes.io/hostname": "t"},
        "tolerations": [{"key": "k", "operator": "Exists"}],
    }
    assert capacity.find(_demand(1, **tolerant)) == "t"
    assert capacity.find(_demand(1, nodeSelector={"kubernetes.io/hostname": "u"})) is None
    assert capacity.put_node(_node("u"))
    assert capacity.find(_demand(1, nodeSelector={"kubernetes.io/hostname": "u"})) == "u"


def test_a_node_that_comes_later_has_what_its_pods_left() -> None:
    capacity = _capacity()
    capacity.assign("1", "a", _demand(7))
    capacity.put_node(_node("a"))
    assert capacity.find(_demand(2)) is None
    assert capacity.find(_demand(1)) == "a"


def test_the_reasons_are_counted_as_the_scheduler_words_them() -> None:
    capacity = _capacity(_node("a"), _node("b"), _node("l", product="L4"), _node("u", unschedulable=True))
    capacity.assign("1", "a", _demand(8))
    text = capacity.explain(_demand(8, cpu="200", affinity=_affinity("H100")))
    assert text == (
        "0/4 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) didn't match Pod's node affinity/selector, "
        "1 node(s) were unschedulable, 2 Insufficient cpu. "
        "preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."
    )
    assert _capacity().explain(_demand()) == "no nodes available to schedule pods"


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=40))
def test_a_node_is_found_exactly_when_one_has_room(steps: list[tuple[int, bool]]) -> None:
    """Against a plain count of free GPUs."""
    capacity = _capacity(*(_node(name) for name in "abc"))
    free = dict.fromkeys("abc", 8)
    placed: list[tuple[str, str, int]] = []
    for number, (gpus, leaves) in enumerate(steps):
        if leaves and placed:
            uid, node, amount = placed.pop(0)
            capacity.release(uid)
            free[node] += amount
        found = capacity.find(_demand(gpus))
        assert (found is not None) == any(left >= gpus for left in free.values())
        if found is not None:
            assert free[found] == min(left for left in free.values() if left >= gpus)
            capacity.assign(str(number), found, _demand(gpus))
            free[found] -= gpus
            placed.append((str(number), found, gpus))
