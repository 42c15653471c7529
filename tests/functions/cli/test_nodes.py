"""`sentinel nodes`: which nodes take no new pods, and why."""

import pytest

from shared.models.cluster import Cluster
from shared.store.unit_of_work import Store
from tests.functions.cli.conftest import Sentinel


@pytest.fixture
def nodes(store: Store) -> None:
    with store.begin() as work:
        work.catalogue.register_cluster(Cluster("east"))
        work.nodes.keep("local", {"gpu-1": {"H100": 8}, "shared": {"L4": 4}})
        work.nodes.keep("east", {"shared": {"L4": 2}})


def test_nodes_are_listed_excluded_and_cleared(sentinel: Sentinel, nodes: None) -> None:
    excluded = sentinel("nodes", "exclude", "gpu-1", "--reason", "its fans rattle")
    assert (excluded.code, excluded.lines[1].split()[:4]) == (0, ["local", "gpu-1", "H100=8", "excluded"])
    assert "its fans rattle" in excluded.out
    assert [line.split()[1] for line in sentinel("nodes", "list").lines] == ["NAME", "shared", "gpu-1", "shared"]
    assert [one["name"] for one in sentinel("nodes", "list", "--excluded", "-o", "json").json] == ["gpu-1"]
    assert [one["excluded"] for one in sentinel("nodes", "clear", "gpu-1", "-o", "json").json] == [False]
    assert len(sentinel("nodes", "list", "--excluded").lines) == 1


def test_a_node_of_several_clusters_or_of_none_takes_a_cluster(sentinel: Sentinel, nodes: None) -> None:
    ran = sentinel("nodes", "exclude", "shared")
    assert (ran.code, "several clusters have a node shared: east, local" in ran.err) == (2, True)
    assert sentinel("nodes", "exclude", "shared", "--cluster", "east").code == 0
    ran = sentinel("nodes", "exclude", "unknown")
    assert (ran.code, "say which one has it with --cluster" in ran.err) == (1, True)
    assert sentinel("nodes", "exclude", "unknown", "--cluster", "east").code == 0
