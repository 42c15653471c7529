"""Placement: each criterion decides when those before it do not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import NoClusterMatches
from shared.models.amounts import Amounts
from shared.models.cluster import Cluster, ClusterState
from shared.models.workload import WorkloadSpec
from shared.rollout.placement import choose_cluster


def spec(gpus: int = 1, sku: str | None = "H100", **labels: str) -> WorkloadSpec:
    wire: dict[str, Any] = {"name": "w", "type": "inference", "image": "i", "clusters": {"matchLabels": labels}}
    return WorkloadSpec.model_validate({**wire, "resources": {"gpu": {"count": gpus, "sku": sku}}})


def held(replicas: int = 0, gpus: int = 0) -> Amounts:
    return Amounts(replicas=replicas, gpus=gpus)


def test_labels_must_match() -> None:
    clusters = [Cluster("a", {"region": "us"}), Cluster("b", {"region": "eu", "tier": "1"})]
    assert choose_cluster(spec(region="eu"), clusters, {}).name == "b"


def test_the_sku_must_be_there_or_may_be_there() -> None:
    clusters = [Cluster("a", gpus={"L4": 8}), Cluster("b", gpus={"H100": 0}), Cluster("c")]
    assert choose_cluster(spec(), clusters, {}).name == "c"


def test_a_workload_stays_where_it_is() -> None:
    clusters = [Cluster("a", gpus={"H100": 8}), Cluster("b", gpus={"H100": 1})]
    assert choose_cluster(spec(), clusters, {("b", "H100"): held(9, 9)}, current="b").name == "b"


def test_a_workload_moves_when_its_cluster_no_longer_matches() -> None:
    clusters = [Cluster("a", gpus={"H100": 8}), Cluster("b", gpus={"L4": 1})]
    assert choose_cluster(spec(), clusters, {}, current="b").name == "a"
    assert choose_cluster(spec(), clusters, {}, current="gone").name == "a"


def test_a_cordoned_cluster_keeps_what_runs_there_and_takes_nothing_else() -> None:
    clusters = [Cluster("a", gpus={"H100": 8}, state=ClusterState.CORDONED), Cluster("b")]
    assert choose_cluster(spec(), clusters, {}).name == "b"
    assert choose_cluster(spec(), clusters, {}, current="a").name == "a"
    with pytest.raises(NoClusterMatches, match="no cluster matches; a: it is cordoned"):
        choose_cluster(spec(), clusters[:1], {})


def test_a_lost_cluster_takes_nothing() -> None:
    with pytest.raises(NoClusterMatches, match="a: it was declared lost"):
        choose_cluster(spec(), [Cluster("a", state=ClusterState.LOST)], {}, current="a")


def test_unknown_capacity_comes_after_a_known_one_even_a_full_one() -> None:
    clusters = [Cluster("a"), Cluster("b", gpus={"H100": 1})]
    assert choose_cluster(spec(), clusters, {("b", "H100"): held(3, 3)}).name == "b"


def test_most_free_gpus_of_the_sku_win() -> None:
    clusters = [Cluster("a", gpus={"H100": 8, "L4": 99}), Cluster("b", gpus={"H100": 6})]
    assert choose_cluster(spec(), clusters, {}).name == "a"
    assert choose_cluster(spec(), clusters, {("a", "H100"): held(1, 3), ("b", "L4"): held(1, 6)}).name == "b"


def test_without_a_sku_all_gpus_count() -> None:
    clusters = [Cluster("a", gpus={"H100": 8}), Cluster("b", gpus={"H100": 4, "L4": 5})]
    assert choose_cluster(spec(sku=None), clusters, {}).name == "b"
    assert choose_cluster(spec(sku=None), clusters, {("b", ""): held(1, 2)}).name == "a"


def test_fewest_reserved_replicas_decide_among_equals() -> None:
    clusters = [Cluster("a", gpus={"H100": 8}), Cluster("b", gpus={"H100": 8})]
    assert choose_cluster(spec(), clusters, {("a", ""): held(1)}).name == "b"


def test_capacity_in_gpus_says_nothing_of_a_workload_without() -> None:
    clusters = [Cluster("a"), Cluster("b", gpus={"H100": 8}), Cluster("c", gpus={})]
    assert choose_cluster(spec(gpus=0), clusters, {}).name == "a"
    assert choose_cluster(spec(gpus=0), clusters, {("a", "H100"): held(1), ("b", ""): held(1)}).name == "c"


def test_the_name_is_the_last_word() -> None:
    assert choose_cluster(spec(), [Cluster("b"), Cluster("a")], {}).name == "a"


@given(st.permutations([Cluster(name, gpus={"H100": 4}) for name in "abcd"]))
def test_the_order_of_registration_does_not_matter(clusters: list[Cluster]) -> None:
    assert choose_cluster(spec(), clusters, {("a", "H100"): held(1, 1)}).name == "b"


def test_a_refusal_says_of_each_cluster_why() -> None:
    clusters = [
        Cluster("us", {"region": "us"}),
        Cluster("eu", {"region": "eu"}, {"L4": 3, "T4": 0}),
        Cluster("bare", {"region": "eu"}, {}),
    ]
    with pytest.raises(NoClusterMatches) as refusal:
        choose_cluster(spec(region="eu"), clusters, {})
    assert str(refusal.value) == (
        "no cluster matches; bare: no H100 (it has no GPUs); eu: no H100 (it has L4); us: label region is us, not eu"
    )


def test_a_refusal_without_a_sku_speaks_of_any_gpu() -> None:
    with pytest.raises(NoClusterMatches, match=r"no GPU \(it has no GPUs\)"):
        choose_cluster(spec(sku=None), [Cluster("bare", gpus={})], {})


def test_a_refusal_stays_short_on_many_clusters() -> None:
    with pytest.raises(NoClusterMatches, match=r"; and 5 more$"):
        choose_cluster(spec(region="eu"), [Cluster(f"c{n:02}") for n in range(15)], {})


def test_no_cluster_at_all_is_said_plainly() -> None:
    with pytest.raises(NoClusterMatches, match="no cluster is registered"):
        choose_cluster(spec(), [], {})


def test_gpus_of_excluded_nodes_are_not_free_and_hold_nobody_where_it_runs() -> None:
    failing = Cluster("a", gpus={"H100": 16}, excluded_nodes=("n1",), excluded_gpus={"H100": 8})
    assert choose_cluster(spec(), [failing, Cluster("b", gpus={"H100": 9})], {}).name == "b"
    failed = Cluster("a", gpus={"H100": 4}, excluded_nodes=("n1",), excluded_gpus={"H100": 8})
    with pytest.raises(NoClusterMatches, match="a: no H100 on a node that is not excluded"):
        choose_cluster(spec(), [failed], {})
    assert choose_cluster(spec(), [failed], {}, current="a") is failed
    assert choose_cluster(spec(gpus=0, sku=None), [failed], {}) is failed
