"""Leases, crashes and races: whatever is cut off is done again, and there is one outcome."""

import os
import signal
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from functions.deployment_execution import function
from functions.deployment_execution.handler import ACTOR
from shared.clusters.answers import ApiAnswer
from shared.clusters.transport import Transport
from shared.errors import AlreadyInProgress, ClusterUnavailable
from shared.eventing.processing import HttpAnswer
from shared.models.lifecycle import Phase, PlanStatus
from shared.operations import execute, execution_tasks, lease
from shared.operations.apply import ClusterTask, TaskRefused
from shared.operations.lease import LEASE
from tests.support.chain import PLAN_APPROVED, Chain
from tests.support.cluster import Crash, Gate, troubled
from tests.support.serving import served

LEASE_SECONDS = LEASE.total_seconds() + 1


def image(chain: Chain) -> str:
    return str(chain.site.object()["spec"]["template"]["spec"]["containers"][0]["image"])


def cut_off(chain: Chain, approved: HttpAnswer) -> None:
    """The first transaction commits and then the process is gone."""
    chain.site.crashes = 1
    with pytest.raises(Crash):
        chain.forward(approved)


def test_a_second_delivery_waits_for_the_first_and_takes_over_when_the_lease_lapses(chain: Chain) -> None:
    approved = chain.until_approved()
    cut_off(chain, approved)
    assert chain.plan().status is PlanStatus.APPLYING
    assert chain.forward(approved).status == 409
    chain.pass_plan_time(LEASE_SECONDS)
    answer = chain.forward(approved)
    assert answer.status == 200
    assert chain.forward(approved).body == answer.body
    assert len(chain.site.objects("Deployment")) == 1
    assert [d.revision for d in chain.revisions()] == [1]
    assert chain.actions().count("deployment.applied") == 1


def test_a_crash_after_the_cluster_took_it_ends_in_the_same_object(chain: Chain) -> None:
    approved = chain.until_approved()
    chain.site.late_crashes = 1
    with pytest.raises(Crash):
        chain.forward(approved)
    made = chain.site.object()["metadata"]
    assert chain.plan().status is PlanStatus.APPLYING
    chain.pass_plan_time(LEASE_SECONDS)
    answer = chain.forward(approved)
    found = chain.site.object()["metadata"]
    assert (found["uid"], found["generation"]) == (made["uid"], made["generation"])
    chain.follow(answer)
    assert chain.settle().phase is Phase.HEALTHY


def test_a_crash_in_a_removal_is_made_up_for(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    approved = chain.until_removal_approved()
    chain.site.late_crashes = 1
    with pytest.raises(Crash):
        chain.forward(approved)
    assert chain.forward(approved).status == 409
    assert chain.site.objects("Deployment") == []
    chain.pass_time(61)
    chain.tick()
    assert chain.gpus() == 1  # that it is missing now is the removal's doing, and not told before that is concluded
    assert "deployment.unhealthy" not in chain.told_types()
    chain.pass_plan_time(LEASE_SECONDS)
    chain.follow(approved)
    chain.workload_is(Phase.REMOVED)
    assert chain.reserved() == {}


def test_the_tick_announces_what_was_cut_off_when_no_redelivery_comes(chain: Chain) -> None:
    approved = chain.until_approved()
    cut_off(chain, approved)
    chain.tick()
    assert chain.plan().status is PlanStatus.APPLYING  # its lease has not lapsed yet
    chain.pass_plan_time(LEASE_SECONDS)
    chain.tick()
    assert chain.settle().phase is Phase.HEALTHY
    assert chain.forward(approved).status == 202
    assert len(chain.revisions()) == 1


def test_two_executions_after_a_lapsed_lease_have_one_outcome(chain: Chain) -> None:
    approved = chain.until_approved()
    with chain.held_up(approved):
        chain.pass_plan_time(LEASE_SECONDS)
        chain.tick()
        assert chain.plan().status is PlanStatus.EXECUTED
    chain.settle()
    assert len(chain.site.objects("Deployment")) == 1
    assert chain.actions().count("deployment.applied") == 1


def test_a_slow_execution_does_not_revive_a_revision_that_was_replaced(chain: Chain) -> None:
    approved = chain.until_approved()
    with chain.held_up(approved):
        chain.pass_plan_time(LEASE_SECONDS)
        chain.submit(image="fate.test/ready:2")
        chain.settle()
    assert chain.site.object()["spec"]["template"]["spec"]["containers"][0]["image"] == "fate.test/ready:2"
    chain.tick()
    assert chain.settle().phase is Phase.HEALTHY
    assert [d.status for d in chain.revisions()] == ["superseded", "healthy"]
    assert chain.gpus() == 1


def test_an_apply_that_comes_back_after_the_removal_is_removed_again(chain: Chain) -> None:
    approved = chain.until_approved()
    with chain.held_up(approved):
        chain.pass_plan_time(LEASE_SECONDS)
        chain.forward(chain.until_removal_approved())
        assert chain.workload().phase is Phase.REMOVING
    assert len(chain.site.objects("Deployment")) == 1
    chain.workload_is(Phase.REMOVED)
    assert chain.site.objects("Deployment") == []
    assert chain.reserved() == {}


def test_an_apply_that_comes_when_its_removal_is_over_is_taken_away(chain: Chain) -> None:
    approved = chain.until_approved()
    with chain.held_up(approved):
        chain.pass_plan_time(LEASE_SECONDS)
        chain.withdraw()
        chain.workload_is(Phase.REMOVED)
    assert len(chain.site.objects("Deployment")) == 1
    chain.until(lambda: chain.site.objects("Deployment"), lambda found: found == [])
    assert (chain.workload().phase, chain.reserved()) == (Phase.REMOVED, {})


def test_an_apply_that_another_delivery_of_its_event_overtook_is_taken_away(chain: Chain) -> None:
    approved = chain.until_approved()
    with chain.held_up(approved):
        chain.pass_plan_time(LEASE_SECONDS)
        chain.follow(approved)
        chain.withdraw()
        chain.workload_is(Phase.REMOVED)
    assert len(chain.site.objects("Deployment")) == 1
    chain.until(lambda: chain.site.objects("Deployment"), lambda found: found == [])
    assert (chain.workload().phase, chain.reserved()) == (Phase.REMOVED, {})


def test_what_a_killed_execution_left_after_its_removal_is_taken_away(chain: Chain) -> None:
    def removed_while_held_up(approved: HttpAnswer) -> None:
        with chain.held_up(approved):
            chain.pass_plan_time(LEASE_SECONDS)
            chain.withdraw()
            assert chain.workload().phase is Phase.REMOVED
            chain.site.late_crashes = 1

    with pytest.raises(Crash):
        removed_while_held_up(chain.until_approved())
    assert len(chain.site.objects("Deployment")) == 1
    chain.until(lambda: chain.site.objects("Deployment"), lambda found: found == [])


def test_an_apply_whose_answer_is_lost_when_its_removal_is_over_is_taken_away(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = Transport.apply

    def answer_lost(self: Transport, path: str, body: Mapping[str, Any], **query: str) -> ApiAnswer:
        apply(self, path, body, **query)
        raise ClusterUnavailable("the answer timed out")

    chain.site.someone.create("/api/v1/namespaces", {"metadata": {"name": chain.site.namespace}})
    approved = chain.until_approved()
    with chain.held_up(approved):
        chain.pass_plan_time(LEASE_SECONDS)
        chain.withdraw()
        chain.workload_is(Phase.REMOVED)
        chain.tick()  # its own plan has ended, too
        monkeypatch.setattr(Transport, "apply", answer_lost)
    assert len(chain.site.objects("Deployment")) == 1
    chain.until(lambda: chain.site.objects("Deployment"), lambda found: found == [])
    assert (chain.workload().phase, chain.reserved()) == (Phase.REMOVED, {})


def test_a_job_that_comes_when_another_has_replaced_it_is_taken_away(chain: Chain) -> None:
    approved = chain.until_approved(type="batch", image="fate.test/never-ready")
    with chain.held_up(approved):
        chain.pass_plan_time(LEASE_SECONDS)
        chain.submit(type="batch", image="fate.test/never-ready:2")
    assert [job["metadata"]["name"] for job in chain.site.objects("Job")] == ["web-r1", "web-r2"]
    [job] = chain.until(lambda: chain.site.objects("Job"), lambda found: len(found) == 1)
    assert job["metadata"]["name"] == "web-r2"


def test_what_comes_late_leaves_a_workload_that_was_submitted_again_alone(chain: Chain) -> None:
    approved = chain.until_approved()
    with chain.held_up(approved):
        chain.pass_plan_time(LEASE_SECONDS)
        chain.withdraw()
        chain.submit(type="stateful")
        chain.settle()
    assert len(chain.site.objects("Deployment")) == 1
    chain.until(lambda: chain.site.objects("Deployment"), lambda found: found == [])
    assert chain.workload().phase is Phase.HEALTHY
    assert [found["metadata"]["name"] for found in chain.site.objects("StatefulSet")] == ["web"]


def test_a_removal_that_outlives_its_lease_leaves_what_was_submitted_since(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    removal = chain.until_removal_approved()
    with chain.held_up(removal):
        chain.pass_plan_time(LEASE_SECONDS)
        chain.submit(image="fate.test/ready:2")
    chain.settle()
    assert (chain.workload().phase, chain.workload().withdrawn) == (Phase.HEALTHY, False)
    assert [d.status for d in chain.revisions()] == ["superseded", "healthy"]
    assert image(chain) == "fate.test/ready:2"
    assert chain.gpus() == 1


def test_a_removal_concludes_what_it_deleted_alone(chain: Chain) -> None:
    chain.submit(type="batch", image="fate.test/never-ready")
    removal = chain.until_removal_approved()
    with chain.held_up(removal):
        chain.pass_plan_time(LEASE_SECONDS)
        chain.submit(type="batch", image="fate.test/never-ready:2")
    assert [d.status for d in chain.revisions()] == ["superseded", "verifying"]
    assert [job["metadata"]["name"] for job in chain.site.objects("Job")] == ["web-r2"]
    assert chain.gpus() == 1


def test_a_create_that_outlives_its_lease_does_not_overwrite_the_newer_revision(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = chain.until_approved(image="fate.test/ready:old")
    chain.site.someone.create("/api/v1/namespaces", {"metadata": {"name": chain.site.namespace}})
    gate, apply, first = Gate(), Transport.apply, iter([True])

    def held_up(self: Transport, path: str, body: Mapping[str, Any], **query: str) -> ApiAnswer:
        if next(first, False):
            gate.pass_through()  # it has read that there is no object
        return apply(self, path, body, **query)

    monkeypatch.setattr(Transport, "apply", held_up)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(chain.forward, old)
        assert gate.reached.wait(30)
        chain.pass_plan_time(LEASE_SECONDS)
        chain.submit(image="fate.test/ready:new")
        chain.settle()
        gate.opened.set()
        slow.result()
    chain.tick()
    assert image(chain) == "fate.test/ready:new"
    assert chain.workload().phase is Phase.HEALTHY
    assert chain.revisions()[-1].status == "healthy"


def test_an_execution_whose_lease_another_has_taken_concludes_nothing(chain: Chain) -> None:
    approved = chain.until_approved()
    with chain.store.begin() as work:
        stale = execution_tasks.prepare(work, execution_tasks.ExecutePlan(chain.id(), chain.plan().id), ACTOR)
    assert isinstance(stale, ClusterTask)
    chain.pass_plan_time(LEASE_SECONDS)
    with chain.held_up(approved):
        with pytest.raises(AlreadyInProgress, match="execution 1 of plan"), chain.store.begin() as work:
            execute.conclude(work, stale, TaskRefused("ApplyRefused", "of long ago"), ACTOR)
        assert (chain.plan().status, chain.plan().executions) == (PlanStatus.APPLYING, 2)
    assert chain.plan().status is PlanStatus.EXECUTED


def lease_left(chain: Chain) -> float:
    """Seconds until the lease of the newest plan ends."""
    with chain.store.begin() as work:
        plan = work.plans.get(chain.plan().id)
        assert plan is not None
        assert plan.lease_until is not None
        return (plan.lease_until - work.now).total_seconds()


def test_a_slow_execution_keeps_its_lease_and_stops_once_another_has_taken_it(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lease, "RENEWAL_SECONDS", 0.01)
    chain.routes[PLAN_APPROVED] = function.build(function.on_clusters(chain.site, chain.store))
    approved = chain.until_approved()
    with chain.held_up(approved):
        for _ in range(3):  # longer than a lease in all
            chain.pass_plan_time(LEASE_SECONDS / 2)
            chain.until_seen(lambda: lease_left(chain), lambda seconds: seconds > LEASE_SECONDS / 2)
        assert chain.forward(approved).status == 409
        chain.pass_plan_time(LEASE_SECONDS)
        chain.until_seen(lambda: caplog.text, lambda text: "has ended before its task" in text)
        chain.withdraw()
        chain.workload_is(Phase.REMOVED)
    assert chain.site.objects("Deployment") == []
    assert chain.reserved() == {}


def test_plans_of_one_workload_are_executed_one_after_the_other(chain: Chain) -> None:
    first = chain.until_approved()
    cut_off(chain, first)
    second = chain.until_approved(image="fate.test/ready:2")
    assert chain.forward(second).status == 409
    removal = chain.until_removal_approved()
    assert chain.forward(removal).status == 409
    assert chain.site.objects("Deployment") == []
    chain.pass_plan_time(LEASE_SECONDS)
    chain.run([(m.headers, m.body) for m in (first, second, removal)])
    chain.workload_is(Phase.REMOVED)
    assert chain.site.objects("Deployment") == []
    assert chain.reserved() == {}


def test_simultaneous_deliveries_of_one_event_have_one_outcome(chain: Chain) -> None:
    approved = chain.until_approved()
    barrier = threading.Barrier(4)

    def deliver(_: int) -> int:
        barrier.wait()
        return chain.forward(approved).status

    with ThreadPoolExecutor(4) as pool:
        statuses = set(pool.map(deliver, range(4)))
    assert 200 in statuses
    assert statuses <= {200, 409}
    assert chain.forward(approved).status == 200
    assert chain.actions().count("deployment.applied") == 1
    assert len(chain.site.objects("Deployment")) == 1


@pytest.mark.slow
def test_a_process_that_is_killed_in_the_middle_is_made_up_for(chain: Chain, database_url: str, tmp_path: Path) -> None:
    approved = chain.until_approved()
    with troubled(0, tmp_path) as hanging:
        chain.site.go_away(hanging.kubeconfig)
        variables = {
            "DATABASE_URL": database_url,
            "CLUSTERS_DIR": str(chain.site.directory),
            "CLUSTERS_ALLOW_LOOPBACK": "true",
        }
        with (
            served(["deployment_execution"], tmp_path, **variables) as process,
            ThreadPoolExecutor(1) as pool,
        ):
            delivery = pool.submit(process.request, "POST", "/", approved.headers, approved.body)
            assert hanging.asked.wait(30)
            os.kill(process.pid, signal.SIGKILL)
            assert isinstance(delivery.exception(), ConnectionError)
    chain.site.come_back()
    assert chain.plan().status is PlanStatus.APPLYING
    assert chain.forward(approved).status == 409
    chain.pass_plan_time(LEASE_SECONDS)
    chain.follow(approved)
    assert chain.settle().phase is Phase.HEALTHY
    assert len(chain.revisions()) == 1
