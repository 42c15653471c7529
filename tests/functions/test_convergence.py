"""Whatever the order, however often, with crashes at every commit: the same cluster and the same ledger."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest
import sqlalchemy as sa

from shared.eventing.event import Envelope
from shared.models.amounts import Amounts
from shared.models.lifecycle import Phase
from shared.store import audit
from shared.store.unit_of_work import Store, UnitOfWork
from tests.support.builders import connection_of, request
from tests.support.chain import TICK, Chain, Message
from tests.support.cluster import Crash, Site

pytestmark = pytest.mark.slow

ORDERS = 8
NO_GPU = {"cpu": "10m", "memory": "6Mi"}


class CrashingStore(Store):
    """Now and then the process dies right before, or right after, a commit."""

    seed: random.Random | None = None

    @contextmanager
    def transaction(self, now: datetime | None, event: Envelope | None = None) -> Iterator[UnitOfWork]:
        fate = self.seed.random() if self.seed else 1.0
        with super().transaction(now, event) as work:
            yield work
            if fate < 0.1:
                raise Crash
        if fate < 0.2:
            raise Crash


@pytest.fixture
def crashing(store: Store, engine: sa.Engine, site: Site) -> Chain:
    """A chain on a store that crashes once it has a seed."""
    return Chain(CrashingStore(engine), site)


def ticks(count: int) -> list[Message]:
    return [request(TICK, {}, subject=None) for _ in range(count)]


@pytest.mark.parametrize("seed", range(ORDERS))
def test_the_highest_generation_wins_in_every_order(crashing: Chain, seed: int) -> None:
    """Three generations of one workload and ticks: each event twice, shuffled with all that follows, and crashes."""
    chain = crashing
    assert isinstance(chain.store, CrashingStore)
    shuffle = chain.store.seed = random.Random(seed)
    submissions = [chain.submitted(image=f"fate.test/ready:{g}", replicas=g, generation=g) for g in (1, 2, 3)]
    chain.run([*submissions, *ticks(3)], shuffle=shuffle, copies=2)
    chain.store.seed = None
    workload = chain.settle()
    assert (workload.phase, workload.generation) == (Phase.HEALTHY, 3)
    [live] = chain.site.objects("Deployment")
    assert live["spec"]["replicas"] == 3
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "fate.test/ready:3"
    assert chain.gpus() == 3
    assert [d.status for d in chain.revisions()][-1] == "healthy"
    with chain.store.begin() as work:
        assert audit.verify(connection_of(work)) == []
    chain.withdraw()
    chain.workload_is(Phase.REMOVED)
    assert chain.site.objects("Deployment") == []
    assert chain.reserved() == {}
    assert chain.usage() == Amounts()


@pytest.mark.parametrize("seed", range(ORDERS // 2))
def test_a_removal_that_is_taken_in_last_leaves_nothing(crashing: Chain, seed: int) -> None:
    """Intake decides on the order of submissions; what comes after it may come in any order, twice, with crashes."""
    chain = crashing
    submissions = [
        chain.submitted(image="fate.test/ready:1"),
        chain.submitted(image="fate.test/never-ready", replicas=2),
        chain.withdrawn(),
    ]
    answers = [chain.send(submission) for submission in submissions]
    assert isinstance(chain.store, CrashingStore)
    shuffle = chain.store.seed = random.Random(seed)
    chain.run([*((a.headers, a.body) for a in answers), *ticks(2)], shuffle=shuffle, copies=2)
    chain.store.seed = None
    chain.workload_is(Phase.REMOVED)
    assert chain.site.objects("Deployment") == []
    assert chain.usage() == Amounts()


def test_twenty_workloads_delivered_three_times_with_crashes_are_one_object_each(crashing: Chain) -> None:
    chain = crashing
    names = [f"w{number}" for number in range(20)]
    submissions = [chain.submitted(name, resources=NO_GPU) for name in names]
    assert isinstance(chain.store, CrashingStore)
    shuffle = chain.store.seed = random.Random(20)
    chain.run(submissions, shuffle=shuffle, copies=3)
    chain.store.seed = None
    for name in names:
        assert chain.settle(name).phase is Phase.HEALTHY
        assert len(chain.revisions(name)) == 1
    assert [o["metadata"]["name"] for o in chain.site.objects("Deployment")] == sorted(names)
    assert all(o["metadata"]["generation"] == 1 for o in chain.site.objects("Deployment"))
    assert chain.usage().replicas == 20
    healthy = [e.attributes["id"] for e in chain.told if e.attributes["type"].endswith("deployment.healthy.v1")]
    assert len(set(healthy)) == 20
