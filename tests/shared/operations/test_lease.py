"""Leases are renewed while their tasks last, and a process knows when it has lost one."""

import time
import uuid
from collections.abc import Callable

import pytest

from shared.errors import StoreUnavailable
from shared.models.amounts import NOTHING
from shared.models.lifecycle import PlanStatus
from shared.models.plan import ActionPlan, Decision, PlanSource, Verb
from shared.operations import lease
from shared.operations.apply import ClusterTask
from shared.operations.lease import LEASE, RENEWAL_SECONDS, TRUSTED_SECONDS, LeaseRenewal

PLAN = ActionPlan(
    id=uuid.uuid4(),
    workload_id=uuid.uuid4(),
    generation=1,
    source=PlanSource.USER,
    decision=Decision(verb=Verb.REMOVE, cluster="local", replicas=0),
    sku="",
    amounts=NOTHING,
    surge=NOTHING,
    status=PlanStatus.APPLYING,
)
TASK = ClusterTask(PLAN, "w", None, ())
RECOVERY_SECONDS = 30
TICK_SECONDS = 5


def eventually(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWAL_SECONDS", 0.005)


def test_a_lease_is_renewed_while_its_task_lasts_and_no_longer() -> None:
    renewed: list[ClusterTask] = []

    def renew(task: ClusterTask) -> bool:
        renewed.append(task)
        return True

    renewal = LeaseRenewal(renew)
    with renewal.keep(TASK) as held:
        eventually(lambda: len(renewed) >= 3)
        assert held.is_held()
    eventually(lambda: not renewal.is_running)
    count = len(renewed)
    with renewal.keep(TASK):
        eventually(lambda: len(renewed) > count)


def test_a_lease_that_another_execution_has_taken_is_lost() -> None:
    with LeaseRenewal(lambda _: False).keep(TASK) as held:
        eventually(lambda: not held.is_held())


@pytest.mark.parametrize("error", [StoreUnavailable("away"), KeyError("a defect")])
def test_what_goes_wrong_with_a_renewal_is_made_up_for_by_the_next(error: Exception) -> None:
    answers = iter([error, None])

    def renew(_: ClusterTask) -> bool:
        if (answer := next(answers, None)) is not None:
            raise answer
        return True

    with LeaseRenewal(renew).keep(TASK) as held:
        eventually(lambda: next(answers, "none left") == "none left")
        assert held.is_held()


def test_a_lease_that_is_not_renewed_is_not_trusted_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "TRUSTED_SECONDS", 0.0)
    with LeaseRenewal(lambda _: True).keep(TASK) as held:
        assert not held.is_held()


def test_a_lease_outlasts_a_renewal_that_failed_and_ends_in_time_for_recovery() -> None:
    assert 3 * RENEWAL_SECONDS < TRUSTED_SECONDS < LEASE.total_seconds()
    assert LEASE.total_seconds() + TICK_SECONDS < RECOVERY_SECONDS
