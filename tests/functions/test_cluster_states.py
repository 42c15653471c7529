"""Clusters that an operator cordons, removes or declares lost, with workloads in every state on them."""

import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from events.rollout import outgoing
from functions.cli.publishing import event_about
from shared.errors import WrongState
from shared.models.cluster import Cluster
from shared.models.lifecycle import Phase, PlanStatus
from shared.operations import clusters, lost_cluster
from shared.operations.clusters import FIRST_ID
from shared.operations.lost_cluster import Fate, LossOutcome, LostWorkload
from shared.store.unit_of_work import Store
from tests.support.builders import TESTS, connection_of
from tests.support.chain import Chain
from tests.support.cluster import Crash

NEVER = "fate.test/never-ready"
NO_GPU = {"cpu": "10m", "memory": "6Mi"}


@pytest.fixture
def spare(chain: Chain) -> Iterator[str]:
    """A second cluster, behind the same address; it is cordoned until a test uncordons it."""
    shutil.copy(chain.site.kubeconfig, chain.site.directory / "spare")
    with chain.store.begin() as work:
        clusters.register(work, Cluster("spare", {"region": "eu"}, {"L4": 1}), TESTS)
        clusters.cordon(work, "spare", TESTS)
        work.catalogue.take_unread(work.now, work.now, 10)
    yield "spare"
    (chain.site.directory / "spare").unlink()


def lose(chain: Chain, fate: Fate) -> dict[str, LostWorkload]:
    """The cluster `local` burns down with all that runs there, and its operator says so. By the names of workloads."""
    for kind in ("Deployment", "Job"):
        for item in chain.site.objects(kind):
            chain.site.someone.delete(chain.site.path(kind, item["metadata"]["name"]))
    chain.site.go_away()
    return declare_lost(chain, fate)


def declare_lost(chain: Chain, fate: Fate) -> dict[str, LostWorkload]:
    with chain.store.begin() as work:
        lost_cluster.declare_lost(work, "local", fate, TESTS)
    found: dict[str, LostWorkload] = {}
    after, planned = FIRST_ID, lost_cluster.Planned()
    while True:
        with chain.store.begin() as work:
            page = lost_cluster.end_page(work, "local", fate, after, planned, TESTS)
            told = map(outgoing, page.results)
            work.add_to_outbox([event_about(one.subject, one.data, work.now) for one in told])
        if not page.workloads:
            return found
        found |= {one.label.split("/")[2]: one for one in page.workloads}
        after = page.workloads[-1].id


def cordon(chain: Chain, name: str) -> None:
    with chain.store.begin() as work:
        clusters.cordon(work, name, TESTS)


def uncordon(chain: Chain, name: str) -> None:
    with chain.store.begin() as work:
        clusters.uncordon(work, name, TESTS)


def reserved_at(chain: Chain, cluster: str, name: str = "web") -> int:
    with chain.store.begin() as work:
        return sum(amounts.replicas for amounts in work.ledger.reserved(chain.id(name), cluster).values())


def test_what_runs_on_a_cordoned_cluster_stays_and_is_edited_there(chain: Chain, spare: str) -> None:
    chain.submit(resources=NO_GPU)
    chain.settle()
    cordon(chain, "local")
    uncordon(chain, spare)
    chain.submit(resources=NO_GPU, replicas=2)
    chain.submit("other", resources=NO_GPU)
    assert (chain.settle().phase, chain.workload().cluster) == (Phase.HEALTHY, "local")
    assert (chain.settle("other").phase, chain.workload("other").cluster) == (Phase.HEALTHY, spare)


def test_a_plan_that_was_approved_before_its_cluster_was_cordoned_is_placed_elsewhere(chain: Chain, spare: str) -> None:
    approved = chain.until_approved(resources=NO_GPU)
    first = chain.plan()
    cordon(chain, "local")
    uncordon(chain, spare)
    chain.follow(approved)
    assert (chain.settle().phase, chain.workload().cluster) == (Phase.HEALTHY, spare)
    assert [one.cluster for one in chain.revisions()] == [spare]
    assert (reserved_at(chain, "local"), reserved_at(chain, spare)) == (0, 1)
    with chain.store.begin() as work:
        ended = work.plans.get(first.id)
    assert ended is not None
    assert ended.status is PlanStatus.SUPERSEDED
    assert chain.actions().count("plan.proposed") == 2


def test_a_plan_that_waited_in_the_queue_while_its_cluster_was_cordoned_is_placed_elsewhere(
    chain: Chain, spare: str
) -> None:
    chain.limit_gpus(1)
    chain.submit("first")
    chain.settle("first")
    chain.submit("second", queue=True)
    assert chain.workload("second").phase is Phase.QUEUED
    cordon(chain, "local")
    uncordon(chain, spare)
    chain.withdraw("first")
    chain.workload_is(Phase.REMOVED, "first")
    assert (chain.settle("second").phase, chain.workload("second").cluster) == (Phase.HEALTHY, spare)


def test_a_plan_that_no_other_cluster_takes_waits_until_its_own_is_uncordoned(chain: Chain, spare: str) -> None:
    approved = chain.until_approved()
    cordon(chain, "local")
    chain.follow(approved)
    assert chain.workload().phase is Phase.WAITING
    assert chain.workload().reason.startswith("cluster local is cordoned, and the plan cannot be placed elsewhere: ")
    assert "spare: it is cordoned" in chain.workload().reason
    assert chain.revisions() == []
    uncordon(chain, "local")
    assert (chain.settle().phase, chain.workload().cluster) == (Phase.HEALTHY, "local")


def test_an_execution_that_had_begun_before_its_cluster_was_cordoned_goes_on(chain: Chain, spare: str) -> None:
    approved = chain.until_approved(resources=NO_GPU)
    chain.site.late_crashes = 1
    with pytest.raises(Crash):
        chain.forward(approved)
    cordon(chain, "local")
    uncordon(chain, spare)
    chain.pass_plan_time(60)
    chain.follow(approved)
    assert (chain.settle().phase, chain.workload().cluster) == (Phase.HEALTHY, "local")


@pytest.mark.slow
def test_a_lost_cluster_fails_its_workloads_and_gives_their_holdings_back(chain: Chain) -> None:
    chain.submit("healthy", replicas=2)
    chain.settle("healthy")
    chain.submit("verifying", image=NEVER)
    approved = chain.until_approved("approved")
    chain.submit("job", type="training", resources=NO_GPU)
    chain.settle("job")
    chain.submit("leaving")
    chain.settle("leaving")
    chain.forward(chain.until_removal_approved("leaving"))
    ended = lose(chain, Fate.FAIL)
    assert {name: one.outcome for name, one in ended.items()} == {
        "healthy": LossOutcome.FAILED,
        "verifying": LossOutcome.FAILED,
        "approved": LossOutcome.FAILED,
        "job": LossOutcome.RELEASED,
        "leaving": LossOutcome.REMOVED,
    }
    assert chain.usage().replicas == 0
    assert chain.workload("healthy").reason == "ClusterLost: cluster local was declared lost"
    phases = {name: chain.workload(name).phase for name in ended}
    assert phases == {**dict.fromkeys(ended, Phase.FAILED), "job": Phase.COMPLETED, "leaving": Phase.REMOVED}
    chain.follow(approved)
    chain.tick()
    assert phases == {name: chain.workload(name).phase for name in ended}
    with chain.store.begin() as work:
        row = work.audit_entries(str(chain.id("healthy")))[-1]
    assert row.action == "workload.cluster_lost"
    assert row.detail["changes"]["changed"] == [{"field": "phase", "before": "healthy", "after": "failed"}]
    assert declare_lost(chain, Fate.FAIL) == {}  # once more, after an interruption say


def test_a_lost_cluster_has_its_workloads_placed_elsewhere(chain: Chain, spare: str) -> None:
    chain.submit("healthy", resources=NO_GPU, replicas=2)
    chain.submit("restored", resources=NO_GPU)
    chain.submit("big", resources={**NO_GPU, "gpu": {"count": 1, "sku": "H100"}})
    for name in ("healthy", "restored", "big"):
        chain.settle(name)
    chain.submit("restored", resources=NO_GPU, image="fate.test/image-pull")
    assert chain.settle("restored").phase is Phase.ROLLED_BACK
    uncordon(chain, spare)
    ended = lose(chain, Fate.RESCHEDULE)
    assert {name: (one.outcome, one.cluster) for name, one in ended.items()} == {
        "healthy": (LossOutcome.RESCHEDULED, spare),
        "restored": (LossOutcome.RESCHEDULED, spare),
        "big": (LossOutcome.FAILED, ""),
    }
    assert ended["big"].reason.startswith("ClusterLost: cluster local was declared lost, and it cannot be placed else")
    chain.tick()
    assert chain.settle("healthy").phase is Phase.HEALTHY
    assert chain.settle("restored").phase is Phase.ROLLED_BACK
    for name, replicas in (("healthy", 2), ("restored", 1)):
        assert (reserved_at(chain, "local", name), reserved_at(chain, spare, name)) == (0, replicas)
    image = chain.site.object("restored")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == "fate.test/ready"
    assert [one.cluster for one in chain.revisions("healthy")] == ["local", spare]


def test_a_workload_that_failed_with_its_cluster_can_be_withdrawn_or_submitted_again(chain: Chain, spare: str) -> None:
    for name in ("gone", "again"):
        chain.submit(name, resources=NO_GPU)
        chain.settle(name)
    uncordon(chain, spare)
    lose(chain, Fate.FAIL)
    chain.withdraw("gone")
    assert chain.workload("gone").phase is Phase.REMOVED
    chain.submit("again", resources=NO_GPU)
    assert (chain.settle("again").phase, chain.workload("again").cluster) == (Phase.HEALTHY, spare)
    assert chain.plan("again").decision.verb == "deploy"


def test_an_execution_that_hangs_on_a_lost_cluster_changes_nothing_when_it_ends(chain: Chain, spare: str) -> None:
    answer = chain.until_approved(resources=NO_GPU)
    old = chain.plan()
    uncordon(chain, spare)
    with chain.held_up(answer):
        declare_lost(chain, Fate.RESCHEDULE)
        chain.pass_plan_time(60)
        chain.tick()
        assert chain.settle().cluster == spare
    assert (chain.workload().phase, chain.plan().status) == (Phase.HEALTHY, PlanStatus.EXECUTED)
    with chain.store.begin() as work:
        plan = work.plans.get(old.id)
    assert plan is not None
    assert plan.status in (PlanStatus.SUPERSEDED, PlanStatus.WAITING)
    assert (reserved_at(chain, "local"), reserved_at(chain, spare)) == (0, 1)


def test_a_lost_cluster_is_not_asked_until_it_is_back(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    declare_lost(chain, Fate.FAIL)
    with chain.store.begin() as work:
        clusters.mark_away(work, "local", "asked before it was lost", probed=True)
        work.catalogue.mark_available("local")
    chain.site.crashes = 1
    for _ in range(2):
        chain.pass_plan_time(3600)
        chain.tick()
    assert chain.site.crashes == 1
    chain.site.crashes = 0
    uncordon(chain, "local")
    chain.submit(replicas=2)
    assert chain.settle().phase is Phase.HEALTHY
    assert chain.gpus() == 2


def test_whoever_is_placing_a_workload_right_now_is_waited_for(chain: Chain, store: Store, spare: str) -> None:
    with ThreadPoolExecutor(1) as threads:
        with store.begin() as placing:
            placing.catalogue.clusters()
            removing = threads.submit(remove, chain, spare)
            wait_for_a_lock(chain)
            assert not removing.done()
        assert removing.result(30)
    with store.begin() as work:
        assert [one.name for one in work.catalogue.clusters()] == ["local"]


def remove(chain: Chain, name: str) -> bool:
    with chain.store.begin() as work:
        clusters.remove(work, name, TESTS)
    return True


def wait_for_a_lock(chain: Chain) -> None:
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'clusters'::regclass")
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with chain.store.begin() as work:
            if connection_of(work).execute(waiting).scalar_one():
                return
        threading.Event().wait(0.01)
    raise AssertionError("nobody waits")


def test_a_cluster_is_removed_once_its_workloads_are_gone(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    with pytest.raises(WrongState, match="holds 1 workloads: search/"), chain.store.begin() as work:
        clusters.remove(work, "local", TESTS)
    chain.withdraw()
    chain.workload_is(Phase.REMOVED)
    assert remove(chain, "local")
    chain.site.go_away()
    chain.withdraw()
    assert chain.workload().phase is Phase.REMOVED
