"""What is known of a cluster that does not answer: nobody waits for it, and one at a time asks whether it is back."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from shared.clusters import transport
from shared.models.actor import Actor
from shared.models.cluster import Cluster
from shared.models.lifecycle import Phase, PlanStatus
from shared.operations import clusters as operations
from shared.operations.apply import TASK_SECONDS
from shared.store.tables import clusters
from tests.support.builders import connection_of
from tests.support.chain import Chain
from tests.support.cluster import Troubled, troubled

REASON = "cluster local: GET /: timed out"
TRIGGER_TIMEOUT_SECONDS = 60
WEBHOOK_SECONDS = 30
"""What Kubernetes lets an admission webhook take at most."""


def is_away(chain: Chain, name: str = "local") -> bool:
    return away_for(chain, name) is not None


def away_for(chain: Chain, name: str = "local") -> int | None:
    """For how many seconds a cluster is left alone; None when it answers."""
    left = sa.extract("epoch", clusters.c.away_until - sa.func.clock_timestamp())
    with chain.store.begin() as work:
        seconds = connection_of(work).execute(sa.select(left).where(clusters.c.name == name)).scalar_one()
    return None if seconds is None else round(seconds)


def go_away_for_long(chain: Chain) -> None:
    """Sentinel takes the cluster for away, though it would answer."""
    with chain.store.begin() as work:
        for _ in range(5):
            operations.mark_away(work, "local", REASON, probed=True)


@pytest.fixture
def hung(chain: Chain, tmp_path: Path) -> Iterator[Troubled]:
    """A second cluster, which accepts connections and never answers."""
    with troubled(0, tmp_path) as server:
        (chain.site.directory / "hung").write_text(server.kubeconfig)
        with chain.store.begin() as work:
            operations.register(work, Cluster("hung", {"region": "us"}, {"L4": 16}), Actor.operator("tests"))
            work.catalogue.take_unread(work.now, work.now, 10)
        yield server


def test_a_plan_for_a_cluster_that_is_away_waits_without_touching_it(chain: Chain) -> None:
    go_away_for_long(chain)
    answer = chain.apply()
    assert (answer.status, answer.body) == (202, b"")
    assert chain.plan().status is PlanStatus.WAITING
    assert (chain.workload().phase, chain.workload().reason) == (Phase.WAITING, REASON)
    assert chain.site.objects("Deployment") == []
    assert chain.gpus() == 1


def test_plans_are_announced_once_the_cluster_answers_and_not_before(chain: Chain) -> None:
    go_away_for_long(chain)
    chain.apply()
    chain.told.clear()
    chain.tick()
    assert chain.told_types() == []
    chain.pass_plan_time(10)
    assert chain.settle().phase is Phase.HEALTHY
    assert not is_away(chain)
    assert chain.actions().count("plan.waiting") == 1


def test_nothing_on_a_cluster_that_is_away_is_observed(chain: Chain) -> None:
    chain.apply()
    revision = chain.revisions()[0]
    go_away_for_long(chain)
    before = chain.revisions()[0].observed_at
    chain.tick()
    observed_at = chain.revisions()[0].observed_at
    assert before is not None
    assert observed_at is not None
    assert observed_at < before  # the tick has moved time, and has not looked
    with chain.store.begin() as work:
        assert work.deployments.reachable([revision.id]) == []
        assert work.objects.live_revisions("Deployment", chain.site.namespace, "web") == []


def test_a_cluster_is_probed_by_one_at_a_time_and_less_and_less_often(chain: Chain) -> None:
    chain.site.go_away()
    chain.follow(chain.until_approved())
    delays = []
    for _ in range(6):
        delays.append(away_for(chain))
        chain.pass_plan_time(60)
        chain.tick()
    assert delays == [1, 2, 4, 8, 10, 10]
    chain.pass_plan_time(60)
    with chain.store.begin() as work:
        assert work.catalogue.take_unread(work.now, work.now, 10) == {"local": True}
    with chain.store.begin() as work:
        assert work.catalogue.take_unread(work.now, work.now, 10) == {}


def test_what_others_find_of_a_cluster_that_is_away_changes_nothing(chain: Chain) -> None:
    with chain.store.begin() as work:
        for number in range(4):
            operations.mark_away(work, "local", str(number))
    assert away_for(chain) == 1


def test_an_object_that_cannot_be_written_does_not_put_its_cluster_away(chain: Chain, tmp_path: Path) -> None:
    with troubled(500, tmp_path) as server:
        chain.site.go_away(server.kubeconfig)
        chain.apply()
    assert chain.plan().status is PlanStatus.WAITING
    assert not is_away(chain)


@pytest.mark.slow
def test_a_cluster_that_hangs_leaves_threads_to_the_others(chain: Chain, hung: Troubled) -> None:
    us = {"clusters": {"matchLabels": {"region": "us"}}}
    bad = [chain.until_approved(f"bad-{number}", **us) for number in range(transport.AT_ONCE + 2)]
    good = [chain.until_approved(f"good-{number}", clusters={"matchLabels": {"region": "eu"}}) for number in range(4)]
    with ThreadPoolExecutor(transport.AT_ONCE + 2) as threads:  # as many as there are plans for the hung cluster
        hanging = [threads.submit(chain.forward, answer) for answer in bad]
        answers = [threads.submit(chain.forward, answer).result(20) for answer in good]
        assert [answer.status for answer in answers] == [200] * 4  # deployment.applied
        assert sum(not one.done() for one in hanging) == transport.AT_ONCE
        assert {one.result().status for one in hanging if one.done()} == {202}
        hung.release.set()
    assert chain.plan("bad-0").status is PlanStatus.WAITING
    assert is_away(chain, "hung")
    assert not is_away(chain)


def test_a_task_ends_after_the_slowest_webhook_and_before_the_broker_gives_up() -> None:
    assert WEBHOOK_SECONDS < transport.WRITE_SECONDS < TASK_SECONDS < TRIGGER_TIMEOUT_SECONDS
