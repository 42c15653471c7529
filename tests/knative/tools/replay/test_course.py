"""What a replay makes of what the store says."""

import uuid

import pytest

from knative.local.tools.replay.course import Courses, Sighting
from knative.local.tools.replay.trace import Pod
from shared.models.lifecycle import Phase

WORKLOAD = uuid.uuid4()
POD = Pod("p", 1, 1, 1, (), "LS", 0, None)


def courses(*phases: tuple[Phase, str], keep: bool = False) -> Courses:
    found = Courses(keep)
    found.submitted(WORKLOAD, POD, at=100.0)
    for number, (phase, reason) in enumerate(phases, start=1):
        found.seen(Sighting(WORKLOAD, phase, reason, 100.0 + number))
    return found


def test_a_healthy_workload_is_withdrawn_and_over_once_it_is_removed() -> None:
    found = courses((Phase.PROPOSED, ""), (Phase.VERIFYING, ""), (Phase.HEALTHY, ""))
    [course] = found.to_withdraw()
    assert (course.approved, course.placed_at) == (True, 103.0)
    course.withdrawn = True
    assert found.to_withdraw() == []
    found.seen(Sighting(WORKLOAD, Phase.PROPOSED, "", 104.0))
    assert found.open == [course]
    found.seen(Sighting(WORKLOAD, Phase.REMOVED, "", 105.0))
    assert found.open == []


def test_a_workload_that_is_kept_is_over_when_it_is_placed() -> None:
    found = courses((Phase.HEALTHY, ""), keep=True)
    assert (found.to_withdraw(), found.open) == ([], [])


@pytest.mark.parametrize("keep", [True, False])
def test_a_denied_workload_is_over_and_was_not_approved(keep: bool) -> None:
    found = courses((Phase.PROPOSED, ""), (Phase.DENIED, "too dear"), keep=keep)
    assert (found.to_withdraw(), found.open) == ([], [])
    assert not found.by_workload[WORKLOAD].approved


def test_a_rejected_workload_is_over() -> None:
    found = courses()
    found.rejected(WORKLOAD, "image: is bad")
    assert found.open == []
    assert found.by_workload[WORKLOAD].rejected == "image: is bad"


def test_what_no_node_has_room_for_is_not_placeable_and_still_withdrawn() -> None:
    found = courses((Phase.VERIFYING, ""), (Phase.FAILED, "Unschedulable: not ready at its deadline: pod x"))
    [course] = found.to_withdraw()
    assert course.not_placeable
    assert course.placed_at is None


def test_a_failure_of_another_kind_is_not_called_not_placeable() -> None:
    found = courses((Phase.FAILED, "CrashLoopBackOff: pod x"))
    assert not found.by_workload[WORKLOAD].not_placeable


def test_an_unhealthy_workload_is_not_over_because_a_rollback_may_follow() -> None:
    found = courses((Phase.UNHEALTHY, "CrashLoopBackOff: pod x"), keep=True)
    assert [course.phase for course in found.open] == [Phase.UNHEALTHY]


def test_the_first_time_in_health_counts() -> None:
    found = courses((Phase.HEALTHY, ""), (Phase.DEGRADED, "gone"), (Phase.HEALTHY, ""), keep=True)
    assert found.by_workload[WORKLOAD].placed_at == 101.0


def test_a_sighting_that_says_nothing_new_is_no_news() -> None:
    found = courses((Phase.APPROVED, ""))
    assert not found.seen(Sighting(WORKLOAD, Phase.APPROVED, "", 999.0))
    assert not found.seen(Sighting(uuid.uuid4(), Phase.APPROVED, "", 999.0))
    assert found.seen(Sighting(WORKLOAD, Phase.APPLYING, "", 999.0))


def test_a_workload_only_waits_when_its_revision_has_been_with_the_cluster_for_a_while() -> None:
    found = courses((Phase.VERIFYING, ""))
    course = found.by_workload[WORKLOAD]
    found.seen(Sighting(WORKLOAD, Phase.VERIFYING, "Unschedulable", 110.0))
    assert not course.only_waits(now=103.0, patience=3.0)
    assert course.only_waits(now=105.0, patience=3.0)
    found.seen(Sighting(WORKLOAD, Phase.HEALTHY, "", 111.0))
    assert not course.only_waits(now=200.0, patience=3.0)
