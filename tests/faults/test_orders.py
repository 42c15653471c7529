"""R1 and R2: however often events come, in whichever order, with a crash at every commit: the same state at the end.

The chain runs in this process, on real PostgreSQL and the stand-in Kubernetes API.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa

from shared.eventing.event import Envelope
from shared.models.amounts import Amounts
from shared.models.lifecycle import Phase
from shared.store import audit
from shared.store.tables import action_plans
from shared.store.unit_of_work import Store, UnitOfWork
from tests.functions.conftest import kubeconfig, site  # noqa: F401  # fixtures
from tests.support.builders import Function, connection_of, request
from tests.support.chain import TICK, Chain, Message
from tests.support.cluster import Crash, Site

WORKLOADS, WORKLOADS_NIGHTLY = 150, 1_000
ORDERS, ORDERS_NIGHTLY = 60, 10_000
COPIES = 3
EVENTS, EVENTS_NIGHTLY = 5, 6
NO_GPU = {"cpu": "10m", "memory": "6Mi"}


class CrashingStore(Store):
    """The process dies at one commit of each delivery of an event: before the first, after it, before the second ...

    An event whose commits have all seen both is delivered in peace. `delivery` is what is being delivered.
    """

    delivery: tuple[str, str] | None = None

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__(engine)
        self.crashes: Counter[tuple[str, str]] = Counter()
        self._commits = 0

    def begin_delivery(self, delivery: tuple[str, str]) -> None:
        self.delivery, self._commits = delivery, 0

    @contextmanager
    def transaction(self, now: datetime | None, event: Envelope | None = None) -> Iterator[UnitOfWork]:
        with super().transaction(now, event) as work:
            yield work
            self._crash_at(2 * self._commits)
        self._crash_at(2 * self._commits + 1)
        self._commits += 1

    def _crash_at(self, point: int) -> None:
        if self.delivery is not None and self.crashes[self.delivery] == point:
            self.crashes[self.delivery] += 1
            raise Crash


class CrashingChain(Chain):
    """A chain of which every function dies at every commit, once for each event."""

    def send(self, message: Message, function: Function | None = None) -> Any:
        headers, _ = message
        assert isinstance(self.store, CrashingStore)
        self.store.begin_delivery((headers["ce-source"], headers["ce-id"]))
        try:
            return super().send(message, function)
        finally:
            self.store.delivery = None

    def pass_plan_time(self, seconds: float) -> None:
        """Only leases: nobody waits for anything else here, and the table is large."""
        lapsed = sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds * 2)
        statement = action_plans.update().where(action_plans.c.status == "applying")
        with self.store.begin() as work:
            connection_of(work).execute(statement.values(lease_until=action_plans.c.lease_until - lapsed))


@pytest.mark.xdist_group("r1")
def test_r1_workloads_delivered_three_times_shuffled_with_a_crash_at_every_commit_are_one_object_each(
    store: Store,
    engine: sa.Engine,
    site: Site,  # noqa: F811
    nightly: bool,
    seed: int,
) -> None:
    chain = CrashingChain(CrashingStore(engine), site)
    names = [f"w{number:04}" for number in range(WORKLOADS_NIGHTLY if nightly else WORKLOADS)]
    submissions = [chain.submitted(name, resources=NO_GPU) for name in names]
    random.Random(seed).shuffle(submissions)
    chain.run(submissions, shuffle=random.Random(seed), copies=COPIES)
    assert isinstance(chain.store, CrashingStore)
    # Two points for each of intake, policy and verification, and four for execution.
    assert chain.store.crashes.total() >= 10 * len(names)
    for name in names:
        assert chain.settle(name).phase is Phase.HEALTHY
        assert len(chain.revisions(name)) == 1
    live = chain.site.objects("Deployment")
    assert [each["metadata"]["name"] for each in live] == names
    assert {each["metadata"]["generation"] for each in live} == {1}
    assert chain.usage().replicas == len(names)
    with store.begin() as work:
        assert audit.verify(connection_of(work)) == []


@pytest.fixture
def chain(store: Store, site: Site) -> Chain:  # noqa: F811
    return Chain(store, site)


@pytest.mark.xdist_group("r2")
def test_r2_every_permutation_of_a_few_events_ends_alike(chain: Chain, nightly: bool) -> None:
    """Up to three edits of one workload, with their generations, and ticks; six events at night."""
    for count in range(1, (EVENTS_NIGHTLY if nightly else EVENTS) + 1):
        for number, order in enumerate(itertools.permutations(range(count))):
            name = f"p{count}-{number}"
            events = _events(chain, name, count)
            chain.run([events[index] for index in order])
            _is_the_last_edit(chain, name, (count + 1) // 2)


@pytest.mark.xdist_group("r2")
@pytest.mark.parametrize("last", ["withdrawal", "submission"])
def test_r2_every_permutation_with_a_withdrawal_ends_alike(chain: Chain, last: str) -> None:
    """Two submissions, a withdrawal and a tick. The withdrawal may be the first that is heard of the workload."""
    for number, order in enumerate(itertools.permutations(range(4))):
        name = f"{last[0]}{number}"
        generations = (1, 2, 3) if last == "withdrawal" else (1, 3, 2)
        events = [*_edits(chain, name, generations[:2]), chain.withdrawn(name, generation=generations[2]), _tick()]
        chain.run([events[index] for index in order])
        if last == "submission":
            _is_the_last_edit(chain, name, 3, f"in the order {order}")
        else:
            _is_gone(chain, name, f"in the order {order}")


@pytest.mark.xdist_group("r2")
def test_r2_seeded_orders_of_eight_events_delivered_twice_end_alike(chain: Chain, nightly: bool, seed: int) -> None:
    for number in range(seed, seed + (ORDERS_NIGHTLY if nightly else ORDERS)):
        name = f"o{number}"
        chain.run(_events(chain, name, 8), shuffle=random.Random(number), copies=2)
        _is_the_last_edit(chain, name, 4, f"with seed {number}")


def _events(chain: Chain, name: str, count: int) -> list[Message]:
    """Edits and ticks in turn, the first an edit. Replicas and image say which edit it is."""
    edits = _edits(chain, name, range(1, (count + 1) // 2 + 1))
    ticks = [_tick() for _ in range(count // 2)]
    return [event for pair in itertools.zip_longest(edits, ticks) for event in pair if event is not None]


def _edits(chain: Chain, name: str, generations: Iterable[int]) -> list[Message]:
    return [
        chain.submitted(name, image=f"fate.test/ready:{g}", replicas=g, generation=g, resources=NO_GPU)
        for g in generations
    ]


def _tick() -> Message:
    return request(TICK, {}, subject=None)


def _is_the_last_edit(chain: Chain, name: str, generation: int, note: str = "") -> None:
    """Healthy at the last edit, on the cluster and in the ledger; then it is taken away, and nothing is left."""
    found = chain.settle(name)
    assert (found.phase, found.generation) == (Phase.HEALTHY, generation), note
    live = chain.site.object(name)
    assert live["spec"]["replicas"] == generation, note
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == f"fate.test/ready:{generation}", note
    assert sum(amounts.replicas for amounts in chain.reserved(name).values()) == generation, note
    chain.withdraw(name)
    _is_gone(chain, name, note)


def _is_gone(chain: Chain, name: str, note: str = "") -> None:
    """Removed, or never begun: nothing is on the cluster or in the ledger."""
    with chain.store.begin() as work:
        begun = work.workloads.get(chain.id(name)) is not None
    if begun:
        chain.workload_is(Phase.REMOVED, name)
    assert name not in {each["metadata"]["name"] for each in chain.site.objects("Deployment")}, note
    assert chain.usage() == Amounts(), note
