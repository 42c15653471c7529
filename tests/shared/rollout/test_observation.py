"""Reading what was seen: what still holds resources, and what a status speaks of."""

import pytest

from shared.rollout.observation import Observation, counted_pods, is_stale, lacks_pods, newest_pods, revision_of
from tests.support.cluster_documents import NEW, OLD, Document, counts, over, pod, replica_set, resource, seen


@pytest.mark.parametrize(
    ("phase", "more", "held"),
    [
        ("Running", {}, 1),
        ("Pending", {}, 1),
        ("Unknown", {}, 1),
        ("Running", {"deletionTimestamp": "2026-03-01T12:00:00Z"}, 1),  # terminating pods still hold their GPUs
        ("Succeeded", {}, 0),
        ("Failed", {}, 0),
    ],
)
def test_pods_hold_resources_until_they_finish(phase: str, more: dict[str, str], held: int) -> None:
    observation = Observation(None, (pod("a", phase=phase, **more),))
    assert observation.occupying == held
    assert observation.gone == (held == 0)


def test_nothing_is_gone_while_the_object_is_there() -> None:
    assert not seen(resource()).gone
    assert seen(None).gone


def test_a_pod_without_a_status_is_pending() -> None:
    assert Observation(None, ({"metadata": {"name": "a"}},)).occupying == 1


@pytest.mark.parametrize(("text", "revision"), [("12", 12), ("", None), ("-1", None), ("x", None), ("²", None)])
def test_a_spoilt_revision_is_no_revision(text: str, revision: int | None) -> None:
    assert revision_of({"metadata": {"annotations": {"sentinel.dev/revision": text}}}) == revision


def test_a_status_is_stale_until_it_has_seen_the_generation() -> None:
    assert is_stale(resource(observedGeneration=6))
    assert not is_stale(resource())
    assert is_stale({"kind": "Deployment", "metadata": {"generation": 1}})
    assert not is_stale({"kind": "Job", "metadata": {"generation": 1}})


def test_a_rollback_makes_an_older_replica_set_the_newest() -> None:
    revived, failed = replica_set("web-old", 3), replica_set("web-new", 2)
    pods = [pod("b", "uid-of-web-old"), pod("a", "uid-of-web-old"), pod("c", "uid-of-web-new")]
    names = [p["metadata"]["name"] for p in newest_pods(seen(resource(), pods, [failed, revived]))]
    assert names == ["a", "b"]


def test_without_a_rollout_number_no_pod_is_called_new() -> None:
    untouched = resource()
    del untouched["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
    assert newest_pods(seen(untouched, [pod("a")], [NEW, OLD])) == []
    assert newest_pods(seen(None, [pod("a")])) == []


def test_a_pod_without_a_controller_is_nobodys() -> None:
    stray = pod("a")
    del stray["metadata"]["ownerReferences"]
    assert newest_pods(seen(resource(), [stray])) == []
    assert newest_pods(seen(resource("Job"), [stray])) == []


def test_finished_pods_do_not_count_towards_replicas() -> None:
    pods = [pod("a"), over(pod("b")), pod("c", phase="Succeeded"), pod("d", phase="Unknown")]
    observation = seen(resource(), pods)
    assert [p["metadata"]["name"] for p in counted_pods(observation)] == ["a", "d"]
    assert len(newest_pods(observation)) == 4


@pytest.mark.parametrize(
    ("found", "lacks"),
    [
        (resource("StatefulSet", **counts(1, 1, 1, 1)), True),
        (resource("StatefulSet", **counts(2, 1, 0, 0)), False),
        (resource("Job"), True),
        (resource("Job", active=1), True),
        (resource("Job", active=1, succeeded=1), False),
        (resource("Job", failed=1, active=1), False),
    ],
)
def test_an_object_lacks_pods_while_fewer_were_created_than_it_asks_for(found: Document, lacks: bool) -> None:
    assert lacks_pods(found) is lacks
