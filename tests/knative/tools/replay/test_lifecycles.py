"""What a replay makes of what the store says."""

import uuid

import pytest

from knative.local.tools.replay.lifecycles import LifecycleObservation, Lifecycles
from knative.local.tools.replay.trace import Pod
from shared.models.lifecycle import Phase

WORKLOAD = uuid.uuid4()
POD = Pod("p", 1, 1, 1, (), "LS", 0, None)


def lifecycles(*phases: tuple[Phase, str], keep: bool = False) -> Lifecycles:
    found = Lifecycles(keep)
    found.submitted(WORKLOAD, POD, at=100.0)
    for number, (phase, reason) in enumerate(phases, start=1):
        found.seen(LifecycleObservation(WORKLOAD, phase, reason, 100.0 + number))
    return found


def test_a_healthy_workload_is_withdrawn_and_over_once_it_is_removed() -> None:
    found = lifecycles((Phase.PROPOSED, ""), (Phase.VERIFYING, ""), (Phase.HEALTHY, ""))
    [lifecycle] = found.to_withdraw()
    assert (lifecycle.approved, lifecycle.placed_at) == (True, 103.0)
    lifecycle.withdrawn = True
    assert found.to_withdraw() == []
    found.seen(LifecycleObservation(WORKLOAD, Phase.PROPOSED, "", 104.0))
    assert found.open == [lifecycle]
    found.seen(LifecycleObservation(WORKLOAD, Phase.REMOVED, "", 105.0))
    assert found.open == []


def test_a_workload_that_is_kept_is_over_when_it_is_placed() -> None:
    found = lifecycles((Phase.HEALTHY, ""), keep=True)
    assert (found.to_withdraw(), found.open) == ([], [])


@pytest.mark.parametrize("keep", [True, False])
def test_a_denied_workload_is_over_and_was_not_approved(keep: bool) -> None:
    found = lifecycles((Phase.PROPOSED, ""), (Phase.DENIED, "too dear"), keep=keep)
    assert (found.to_withdraw(), found.open) == ([], [])
    assert not found.by_workload[WORKLOAD].approved


def test_a_rejected_workload_is_over() -> None:
    found = lifecycles()
    found.rejected(WORKLOAD, "image: is bad")
    assert found.open == []
    assert found.by_workload[WORKLOAD].rejected == "image: is bad"


def test_what_no_node_has_room_for_is_not_placeable_and_still_withdrawn() -> None:
    found = lifecycles((Phase.VERIFYING, ""), (Phase.FAILED, "Unschedulable: not ready at its deadline: pod x"))
    [lifecycle] = found.to_withdraw()
    assert lifecycle.not_placeable
    assert lifecycle.placed_at is None


def test_a_failure_of_another_kind_is_not_called_not_placeable() -> None:
    found = lifecycles((Phase.FAILED, "CrashLoopBackOff: pod x"))
    assert not found.by_workload[WORKLOAD].not_placeable


def test_an_unhealthy_workload_is_not_over_because_a_rollback_may_follow() -> None:
    found = lifecycles((Phase.UNHEALTHY, "CrashLoopBackOff: pod x"), keep=True)
    assert [lifecycle.phase for lifecycle in found.open] == [Phase.UNHEALTHY]


def test_the_first_time_in_health_counts() -> None:
    found = lifecycles((Phase.HEALTHY, ""), (Phase.DEGRADED, "gone"), (Phase.HEALTHY, ""), keep=True)
    assert found.by_workload[WORKLOAD].placed_at == 101.0


def test_a_sighting_that_says_nothing_new_is_no_news() -> None:
    found = lifecycles((Phase.APPROVED, ""))
    assert not found.seen(LifecycleObservation(WORKLOAD, Phase.APPROVED, "", 999.0))
    assert not found.seen(LifecycleObservation(uuid.uuid4(), Phase.APPROVED, "", 999.0))
    assert found.seen(LifecycleObservation(WORKLOAD, Phase.APPLYING, "", 999.0))


def test_a_workload_only_waits_when_its_revision_has_been_with_the_cluster_for_a_while() -> None:
    found = lifecycles((Phase.VERIFYING, ""))
    lifecycle = found.by_workload[WORKLOAD]
    found.seen(LifecycleObservation(WORKLOAD, Phase.VERIFYING, "Unschedulable", 110.0))
    assert not lifecycle.only_waits(now=103.0, patience=3.0)
    assert lifecycle.only_waits(now=105.0, patience=3.0)
    found.seen(LifecycleObservation(WORKLOAD, Phase.HEALTHY, "", 111.0))
    assert not lifecycle.only_waits(now=200.0, patience=3.0)
