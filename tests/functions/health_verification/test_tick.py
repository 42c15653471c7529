"""The tick: pages, continuations, drift, and locks in one order."""

import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa

from shared.clusters.answers import ApiAnswer
from shared.clusters.transport import Transport
from shared.models.lifecycle import Phase
from shared.operations import observation_tasks, verify
from shared.store.tables import clusters, deployments
from tests.support.builders import connection_of, request, set_columns, told
from tests.support.chain import TICK, Chain

CONTINUED = "dev.sentinel.verification.continued.v1"
BREACHED = "dev.sentinel.slo.breached.v1"
WORKLOADS = 12
NO_GPU = {"cpu": "10m", "memory": "6Mi"}


@pytest.fixture
def pages_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observation_tasks, "PAGE", 2)


def observed(chain: Chain) -> list[bool]:
    """Of every revision, by id, whether it was observed in the last second."""
    statement = sa.select(deployments.c.observed_at > sa.func.now() - timedelta(seconds=1)).order_by(deployments.c.id)
    with chain.store.begin() as work:
        return list(connection_of(work).execute(statement).scalars())


def apply_many(chain: Chain, count: int, **fields: object) -> list[str]:
    names = [f"w{number}" for number in range(count)]
    for name in names:
        chain.apply(name, **{"resources": NO_GPU, **fields})
    return names


@pytest.mark.usefixtures("pages_of_two")
def test_a_tick_observes_one_page_and_emits_its_continuation(chain: Chain) -> None:
    apply_many(chain, 5, image="fate.test/never-ready")
    chain.pass_time(3)
    answer = chain.send(request(TICK, {}, subject=None))
    event = told(answer)
    assert event.type == CONTINUED
    assert event.data == {"startedAt": event.data["startedAt"], "page": 2}  # type: ignore[call-overload, index]
    assert sum(observed(chain)) == 2
    second = chain.forward(answer)
    assert sum(observed(chain)) == 4
    third = chain.forward(second)
    assert third.status == 202
    assert all(observed(chain))


@pytest.mark.usefixtures("pages_of_two")
def test_a_continuation_observes_nothing_on_a_cluster_that_the_first_page_found_away(chain: Chain) -> None:
    apply_many(chain, 5, image="fate.test/never-ready")
    chain.site.go_away()
    chain.tick()
    types = [event.attributes["type"] for event in chain.told]
    assert types.count(CONTINUED) == 1
    assert sum(observed(chain)) == 2


@pytest.mark.usefixtures("pages_of_two")
def test_a_tick_ends_after_its_last_page(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "MAX_PAGES", 2)
    apply_many(chain, 5, image="fate.test/never-ready")
    chain.tick()
    first = observed(chain)
    assert sum(first) == 4
    chain.tick()
    assert observed(chain)[first.index(False)]


@pytest.mark.usefixtures("pages_of_two")
def test_all_that_waited_for_a_cluster_goes_on_with_one_tick(chain: Chain) -> None:
    chain.site.go_away()
    names = apply_many(chain, 5)
    assert {chain.workload(name).phase for name in names} == {Phase.WAITING}
    chain.site.come_back()
    chain.pass_plan_time(2)
    answer = chain.tick()
    assert told(answer).type == CONTINUED  # as the reply: from the outbox each page would be a tick later
    assert len(chain.site.objects("Deployment")) == 5


def test_what_was_observed_just_now_is_left_to_the_next_tick(chain: Chain) -> None:
    chain.apply()
    chain.site.crashes = 1
    chain.send(request(TICK, {}, subject=None))
    assert chain.site.crashes == 1


def test_healthy_revisions_are_left_to_the_sweep(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    chain.site.crashes = 1
    chain.pass_time(3600, observed_at=True)
    chain.tick(run=False)
    assert chain.site.crashes == 1


@pytest.mark.parametrize("doubt", [{"status": "degraded"}, {"ready_since": None}, {"suspected_at": sa.func.now()}])
def test_what_needs_a_closer_look_is_not_looked_at_twice_in_one_tick(chain: Chain, doubt: dict[str, object]) -> None:
    chain.submit(resources=NO_GPU)
    chain.settle()
    [revision] = chain.revisions()
    with chain.store.begin() as work:
        set_columns(work, "deployments", revision.id, observed_at=work.now, **doubt)
        assert work.deployments.doubtful(work.now - timedelta(seconds=2), 10) == []
        assert [one.id for one in work.deployments.doubtful(work.now, 10)] == [revision.id]
        work.catalogue.mark_away("local", "", probed=True, first=timedelta(seconds=1), longest=timedelta(seconds=1))
        assert work.deployments.doubtful(work.now, 10) == []


def test_an_idle_tick_answers_nothing(chain: Chain) -> None:
    answer = chain.tick(run=False)
    assert (answer.status, answer.body) == (202, b"")


def test_a_namespace_that_may_not_be_read_hides_nobody_else(chain: Chain, kubeconfig: object) -> None:
    """The one that is refused has the oldest look, and comes first in every page."""
    chain.apply("hidden", resources=NO_GPU)
    chain.apply("seen", resources=NO_GPU)
    hidden = chain.revisions("hidden")[0]
    with chain.store.begin() as work:  # a name that no path can hold: the server refuses to say anything about it
        set_columns(work, "deployments", hidden.id, name="../..", observed_at=work.now - timedelta(hours=1))
    chain.workload_is(Phase.HEALTHY, "seen")
    assert chain.workload("hidden").phase is Phase.VERIFYING


@pytest.mark.slow
def test_many_workloads_of_many_teams_are_verified_at_once_without_a_deadlock(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of a tick lock many workloads and then the ledger; notices, execution and policy do so one by one."""
    monkeypatch.setattr(observation_tasks, "PAGE", 7)
    teams = ["red", "green", "blue", "grey"]
    submissions = [chain.submitted(f"w{n}", team=teams[n % 4], resources=NO_GPU, bake="PT0S") for n in range(WORKLOADS)]
    applied = [chain.forward(chain.forward(chain.send(submission))) for submission in submissions]
    chain.pass_time(3, observed_at=True)
    ticks = [request(TICK, {}, subject=None) for _ in range(6)]
    breaches = [
        request(BREACHED, {"workload": str(chain.id(f"w{n}", teams[n % 4])), "objective": "p99"}) for n in range(6)
    ]
    edits = [chain.submitted(f"w{n}", team=teams[n % 4], resources=NO_GPU, replicas=2) for n in range(0, WORKLOADS, 3)]
    work = [*ticks, *breaches, *edits, *((answer.headers, answer.body) for answer in applied)]
    random.Random(7).shuffle(work)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(chain.send, work))
    assert [a.outcome for a in answers if a.status not in (200, 202)] == []
    chain.run([(a.headers, a.body) for a in answers if a.status == 200 and a.headers["ce-type"] in chain.routes])
    for n in range(WORKLOADS):
        assert chain.settle(f"w{n}", team=teams[n % 4]).phase is Phase.HEALTHY
    assert chain.usage().replicas == WORKLOADS + len(edits)
    healthy = [e.attributes["subject"] for e in chain.told if e.attributes["type"].endswith("deployment.healthy.v1")]
    assert len(healthy) == WORKLOADS + len(edits)
    assert len({uuid.UUID(subject) for subject in healthy}) == WORKLOADS


def test_an_approved_plan_whose_event_was_lost_is_announced_and_proposed_again(chain: Chain) -> None:
    chain.until_approved()
    assert chain.send(request(TICK, {}, subject=None)).body == b""
    chain.pass_plan_time(timedelta(minutes=11).total_seconds())
    announced = chain.send(request(TICK, {}, subject=None))
    assert told(announced).type == "dev.sentinel.plan.approved.v1"
    assert told(chain.forward(announced)).type == "dev.sentinel.plan.proposed.v1"


def test_a_tick_reads_the_gpu_products_of_a_cluster_once_in_ten_minutes(chain: Chain) -> None:
    fleet = ("NVIDIA-A100-SXM4-80GB", "NVIDIA-H100-80GB-HBM3", "NVIDIA-L4")
    for seconds, shown in ((599, ()), (601, fleet)):
        read_long_ago(chain, seconds)
        assert chain.send(request(TICK, {}, subject=None)).status == 202
        assert products(chain) == shown
    chain.site.crashes = 1
    assert chain.send(request(TICK, {}, subject=None)).status == 202
    assert chain.site.crashes == 1


def test_a_cluster_that_is_away_keeps_the_products_that_are_known(chain: Chain) -> None:
    record(chain, ("NVIDIA-L4",))
    read_long_ago(chain, 601)
    chain.site.go_away()
    assert chain.send(request(TICK, {}, subject=None)).status == 202
    assert products(chain) == ("NVIDIA-L4",)


def read_long_ago(chain: Chain, seconds: int) -> None:
    with chain.store.begin() as work:
        connection_of(work).execute(clusters.update().values(products_read_at=work.now - timedelta(seconds=seconds)))


def record(chain: Chain, shown: tuple[str, ...]) -> None:
    with chain.store.begin() as work:
        work.catalogue.add_products("local", shown)


def products(chain: Chain) -> tuple[str, ...]:
    with chain.store.begin() as work:
        found = work.catalogue.cluster("local")
    assert found is not None
    return found.products


def suspect_all(chain: Chain) -> None:
    """As a sweep does that finds something about each."""
    with chain.store.begin() as work:
        connection_of(work).execute(deployments.update().values(suspected_at=work.now))


@pytest.mark.parametrize(("image", "lists"), [("fate.test/never-ready", 3), ("fate.test/ready", 1)])
def test_a_page_of_a_tick_observes_all_its_objects_by_one_list_a_resource(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, image: str, lists: int
) -> None:
    names = apply_many(chain, 4, image=image)
    if lists == 1:
        for name in names:
            chain.settle(name)
        suspect_all(chain)
    else:
        chain.until_seen(lambda: chain.site.objects("Pod"), lambda pods: len(pods) == 4)
    paths: list[str] = []
    get = Transport.get

    def recorded(transport: Transport, path: str, **query: str) -> ApiAnswer:
        paths.append(path)
        return get(transport, path, **query)

    monkeypatch.setattr(Transport, "get", recorded)
    chain.tick()
    assert len([path for path in paths if "nodes" not in path]) == lists
    assert all(observed(chain))


def test_what_is_as_before_is_remembered_by_one_statement(chain: Chain) -> None:
    names = apply_many(chain, 4)
    for name in names:
        chain.settle(name)

    def statements() -> int:
        counted: list[str] = []

        def count(*arguments: object) -> None:
            counted.append(str(arguments[2]))

        suspect_all(chain)
        sa.event.listen(sa.Engine, "before_cursor_execute", count)
        try:
            chain.tick()
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", count)
        return len([one for one in counted if one.startswith("UPDATE deployments")])

    assert statements() == 1 + 1  # pass_time of the tick itself is one
    assert all(observed(chain))
