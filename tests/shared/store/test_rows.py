"""What is written is what is read: catalogue, workloads, plans, revisions, dead letters, history."""

import json
import uuid
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from shared.errors import AlreadyInProgress, IllegalTransition
from shared.models.amounts import Amounts
from shared.models.cluster import Cluster
from shared.models.dead_letter import DeadLetter
from shared.models.deployment import Deployment, ObjectReference
from shared.models.lifecycle import Phase, PlanStatus, RevisionStatus
from shared.models.plan import ActionPlan, Decision, PlanSource, Verb
from shared.models.reservation import Reservation
from shared.models.stored import Workload, WorkloadFilter
from shared.models.workload import WorkloadSpec
from shared.rollout.pricing import Price, PriceKind, Prices
from shared.store.unit_of_work import Store
from tests.support.builders import Deliver, id_of, submission

WORKLOAD = id_of()


def workload(**changes: object) -> Workload:
    spec = WorkloadSpec.model_validate(submission())
    made = Workload(spec.id, spec, 1, Decimal("0.965340"), Phase.PROPOSED, "local", uuid.uuid4())
    return replace(made, **changes)  # type: ignore[arg-type]  # the fields are the tests' own


def plan(**changes: object) -> ActionPlan:
    made = ActionPlan(
        id=uuid.uuid4(),
        workload_id=WORKLOAD,
        generation=1,
        source=PlanSource.USER,
        decision=Decision(verb=Verb.ROLLBACK, cluster="local", replicas=2, revision=1),
        sku="L4",
        amounts=Amounts(2, 8000, 2**34, 2, Decimal("1.930680")),
        surge=Amounts(1, 4000, 2**33, 1, Decimal("0.000001")),
        status=PlanStatus.PROPOSED,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # the fields are the tests' own


def deployment(revision: int, status: RevisionStatus = RevisionStatus.INTENDED) -> Deployment:
    return Deployment(
        id=uuid.uuid4(),
        workload_id=WORKLOAD,
        revision=revision,
        generation=1,
        plan_id=uuid.uuid4(),
        cluster="local",
        reference=ObjectReference("Deployment", "search", "test-inference"),
        manifest={"kind": "Deployment", "metadata": {"name": "ä"}},
        status=status,
        sku="L4",
        amounts=Amounts(1, 2, 3, 4, Decimal("5.000000")),
    )


# The catalogue -------------------------------------------------------------------------------------------------------


def test_a_cluster_is_registered_and_replaced(store: Store) -> None:
    with store.begin() as work:
        work.catalogue.register_cluster(Cluster("a", {"x": "1"}, {"L4": 1}))
        work.catalogue.register_cluster(Cluster("a", {"y": "2"}, None))
        found = work.catalogue.clusters()[0]
    assert (found.name, found.labels, found.gpus) == ("a", {"y": "2"}, None)


def test_the_nodes_of_a_cluster_are_read_by_one_at_a_time_and_again_after_a_while(store: Store) -> None:
    with store.begin() as work:
        now = work.now
        work.catalogue.register_cluster(Cluster("b"))
        work.catalogue.register_cluster(Cluster("a"))
        assert work.catalogue.take_unread(now, now - timedelta(minutes=1), 2) == {"a": False, "b": False}
        with store.begin() as other:
            taken = other.catalogue.take_unread(now, now - timedelta(minutes=1), 2)
        assert not {"a", "b"} & {*taken}
    with store.begin() as work:
        assert work.catalogue.take_unread(now, now - timedelta(minutes=1), 2) == {}
        assert work.catalogue.take_unread(now, now + timedelta(minutes=1), 1) == {"a": False}


def test_the_products_of_a_cluster_outlast_its_registration_and_its_nodes(store: Store) -> None:
    with store.begin() as work:
        work.catalogue.register_cluster(Cluster("a"))
        work.catalogue.add_products("a", ["NVIDIA-L4", "NVIDIA-GeForce-RTX-6090"])
        work.catalogue.register_cluster(Cluster("a", {"y": "2"}, {"L4": 1}))
        [found] = [cluster for cluster in work.catalogue.clusters() if cluster.name == "a"]
        assert found.products == ("NVIDIA-GeForce-RTX-6090", "NVIDIA-L4")
        for shown in (["Tesla-P4", "NVIDIA-L4"], [], ["Tesla-P4"]):
            work.catalogue.add_products("a", shown)
        again = work.catalogue.cluster("a")
        assert again is not None
        assert again.products == ("NVIDIA-GeForce-RTX-6090", "NVIDIA-L4", "Tesla-P4")


def test_prices_are_added_and_replaced(store: Store) -> None:
    price = Price(PriceKind.GPU, Decimal("9.5"), "us", date(2026, 1, 1), sku="X9", cluster="moon")
    with store.begin() as work:
        work.catalogue.set_prices([price])
        work.catalogue.set_prices([replace(price, usd_per_hour=Decimal("7.25"))])
        found = [p for p in work.catalogue.prices() if p.sku == "X9"]
    assert found == [replace(price, usd_per_hour=Decimal("7.250000"))]


def test_the_prices_at_a_cluster_say_the_same_as_all(store: Store) -> None:
    own = Price(PriceKind.CPU, Decimal("9.500000"), "us", date(2026, 1, 1), cluster="moon")
    with store.begin() as work:
        work.catalogue.set_prices([own, replace(own, cluster="mars"), replace(own, kind=PriceKind.GPU, sku="L4")])
        everywhere, moon = Prices.of(work.catalogue.prices()), work.catalogue.prices_at("moon")
        earth = work.catalogue.prices_at("earth")
    assert {price.cluster for price in moon} == {"", "moon"}
    assert {price.cluster for price in earth} == {""}
    assert Prices.of(moon).at("moon") == everywhere.at("moon")
    assert Prices.of(earth).at("earth") == replace(everywhere.at("earth"), overrides={})


def test_what_is_reserved_by_cluster_and_sku(store: Store) -> None:
    lines = {"L4": Amounts(2, 1, 1, 2, Decimal(1)), "": Amounts(1, 1, 1, 0, Decimal(1))}
    with store.begin() as work:
        for number, team in ((1, "a"), (2, "b")):
            work.ledger.hold(Reservation(uuid.UUID(int=number), "local", team, lines), uuid.uuid4(), work.now)
        found = work.catalogue.reserved()
    assert {key: held.gpus for key, held in found.items()} == {("local", "L4"): 4, ("local", ""): 0}


# Workloads and plans -------------------------------------------------------------------------------------------------


def test_a_workload_comes_back_as_it_was(store: Store) -> None:
    made = workload()
    with store.begin() as work:
        work.workloads.add(made)
        found = work.workloads.get(made.id, lock=True)
        assert found is not None
        assert work.workloads.get(uuid.uuid4()) is None
        assert replace(found, created_at=None, updated_at=None) == made
        assert found.created_at == found.updated_at is not None
        with pytest.raises(AlreadyInProgress, match="search/search/test-inference is being taken in right now"):
            work.workloads.add(made)


def test_the_environment_comes_back_in_the_order_it_was_written_in(store: Store) -> None:
    env = {"Z": "1", "URL": "$(Z)", "A_LONG_NAME": "2", "B": {"secret": "s", "key": "k"}}
    made = workload(spec=WorkloadSpec.model_validate(submission(env=env)))
    with store.begin() as work:
        work.workloads.add(made)
        found = work.workloads.get(made.id)
    assert found is not None
    assert list(found.spec.env) == list(env)
    shown = found.as_json(spec=True)["spec"]
    assert isinstance(shown, dict)
    assert json.dumps(shown["env"]) == json.dumps(env)


def test_a_workload_stored_with_its_environment_as_an_object_still_reads(store: Store, owner_engine: sa.Engine) -> None:
    env = {"LONGER": "1", "B": "2", "A": "3"}
    made = workload(spec=WorkloadSpec.model_validate(submission(env=env)))
    with store.begin() as work:
        work.workloads.add(made)
    earlier = json.dumps(made.spec.model_dump(mode="json", by_alias=True, exclude={"generation"}))
    with owner_engine.begin() as connection:
        connection.execute(sa.text("UPDATE workloads SET spec = CAST(:spec AS jsonb)"), {"spec": earlier})
    with store.begin() as work:
        found = work.workloads.get(made.id)
    assert found is not None
    assert list(found.spec.env.items()) == [("A", "3"), ("B", "2"), ("LONGER", "1")]


def test_a_workload_stored_without_limits_or_with_an_image_that_nobody_pulls_still_reads(
    store: Store, owner_engine: sa.Engine
) -> None:
    made = workload(spec=WorkloadSpec.model_validate(submission()))
    with store.begin() as work:
        work.workloads.add(made)
    earlier = {**made.spec.content(), "image": "Nginx", "resources": {"cpu": "0", "memory": "1"}}
    with owner_engine.begin() as connection:
        connection.execute(sa.text("UPDATE workloads SET spec = CAST(:spec AS jsonb)"), {"spec": json.dumps(earlier)})
    with store.begin() as work:
        found = work.workloads.get(made.id)
    assert found is not None
    assert (found.spec.image, found.spec.resources.cpu, found.spec.resources.memory) == ("Nginx", 0, 1)


def test_a_phase_moves_along_the_table_only(store: Store) -> None:
    made = workload()
    with store.begin() as work:
        work.workloads.add(made)
        with pytest.raises(IllegalTransition, match="proposed cannot become healthy"):
            work.workloads.advance(made, Phase.HEALTHY)
        work.workloads.advance(made, Phase.DENIED, reason="because")
        found = work.workloads.get(made.id)
    assert found is not None
    assert (found.phase, found.reason) == (Phase.DENIED, "because")


def test_a_revision_starts_and_a_plan_is_taken(store: Store) -> None:
    made = workload(phase=Phase.APPROVED)
    with store.begin() as work:
        work.workloads.add(made)
        work.workloads.start_revision(made, 3)
        found = work.workloads.get(made.id)
        assert found is not None
        assert (found.phase, found.revision) == (Phase.APPLYING, 3)
        newest = work.workloads.take_plan(found, uuid.UUID(int=9), withdrawn=True)
        assert work.workloads.get(made.id) == newest
        assert (newest.plan_id, newest.withdrawn, newest.phase) == (uuid.UUID(int=9), True, Phase.PROPOSED)


def test_workloads_are_found_in_order(store: Store, deliver: Deliver) -> None:
    for name, team in (("b", "x"), ("a", "x"), ("c", "a")):
        deliver.submit(name, team=team)
    with store.begin() as work:
        assert [w.spec.name for w in work.workloads.find(WorkloadFilter(), 9)] == ["c", "a", "b"]
        assert [w.spec.name for w in work.workloads.find(WorkloadFilter(team="x", phase=Phase.PROPOSED), 9)] == [
            "a",
            "b",
        ]
        assert [w.spec.name for w in work.workloads.find(WorkloadFilter(name="a"), 9)] == ["a"]
        assert len(work.workloads.find(WorkloadFilter(), 1)) == 1
        locked = work.workloads.lock_many([id_of("a", "x"), id_of("b", "x"), uuid.uuid4()])
    assert locked.keys() == {id_of("a", "x"), id_of("b", "x")}


def test_a_plan_comes_back_as_it_was_and_a_second_insert_changes_nothing(store: Store) -> None:
    made = plan()
    with store.begin() as work:
        assert work.plans.add(made, work.now)
        assert not work.plans.add(replace(made, sku="other"), work.now + timedelta(1))
        assert work.plans.get(made.id) == replace(made, next_attempt_at=work.now)
        assert work.plans.get(uuid.uuid4()) is None


def test_a_plan_is_leased_waits_and_ends(store: Store) -> None:
    made = plan()
    with store.begin() as work:
        now = work.now
        work.plans.add(made, work.now)
        leased = work.plans.lease(replace(made, status=PlanStatus.APPROVED), timedelta(seconds=45))
        assert leased == work.plans.get(made.id)
        assert (leased.status, leased.executions) == (PlanStatus.APPLYING, 1)
        assert leased.lease_until is not None
        assert leased.next_attempt_at is not None
        assert min(leased.next_attempt_at, leased.lease_until) > now + timedelta(seconds=45)
        assert work.plans.renew(leased, timedelta(minutes=9))
        renewed = work.plans.get(made.id)
        assert renewed is not None
        assert renewed.lease_until is not None
        assert renewed.lease_until > now + timedelta(minutes=9)
        assert not work.plans.renew(replace(leased, executions=0), timedelta(minutes=9))  # another one's
        assert work.plans.renew(leased, timedelta(0))
        assert not work.plans.renew(leased, timedelta(minutes=9))  # it has ended
        work.plans.postpone(leased, now + timedelta(seconds=5), "away")
        waiting = work.plans.get(made.id)
        assert waiting is not None
        assert (waiting.status, waiting.attempts, waiting.reason, waiting.lease_until) == (
            PlanStatus.WAITING,
            1,
            "away",
            None,
        )
        again = work.plans.lease(waiting, timedelta(seconds=45))
        assert again.executions == 2
        work.plans.mark_executed(again)
        done = work.plans.get(made.id)
        assert done is not None
        assert (done.status, done.next_attempt_at, done.reason) == (PlanStatus.EXECUTED, None, "")


# Revisions -----------------------------------------------------------------------------------------------------------


def test_a_revision_comes_back_as_it_was(store: Store) -> None:
    made = deployment(1)
    with store.begin() as work:
        work.deployments.add(made)
        stored = replace(made, created_at=work.now)
        assert work.deployments.get(made.id) == stored
        assert work.deployments.revision(WORKLOAD, 1) == stored
        assert work.deployments.of_plan(made.plan_id) == stored
        assert work.deployments.get(uuid.uuid4()) is None
        work.deployments.start_verifying(made, work.now, work.now, uid="u")
        verifying = work.deployments.get(made.id)
        assert verifying is not None
        work.deployments.mark_healthy(verifying, work.now, work.now, "r")
        found = work.deployments.get(made.id)
    assert found is not None
    assert (found.status, found.reference.uid, found.reason) == (RevisionStatus.HEALTHY, "u", "r")


def test_a_newer_revision_retires_the_older_and_the_last_good_is_found(store: Store) -> None:
    with store.begin() as work:
        for number, status in (
            (1, RevisionStatus.HEALTHY),
            (2, RevisionStatus.UNHEALTHY),
            (3, RevisionStatus.INTENDED),
        ):
            made = deployment(number, status)
            work.deployments.add(made)
            if status is RevisionStatus.HEALTHY:
                work.deployments.mark_healthy(made, work.now, work.now, "")
        assert [d.revision for d in work.deployments.live(WORKLOAD)] == [1, 2, 3]
        good = work.deployments.last_good(WORKLOAD, 3)
        assert good is not None
        assert good.revision == 1
        assert work.deployments.last_good(WORKLOAD, 1) is None
        work.deployments.supersede_before(WORKLOAD, 3)
        statuses = [d.status for d in work.deployments.of_workload(WORKLOAD)]
    assert (statuses[0], statuses[-1]) == (RevisionStatus.SUPERSEDED, RevisionStatus.INTENDED)


# Dead letters --------------------------------------------------------------------------------------------------------


def letter(**changes: object) -> DeadLetter:
    made = DeadLetter("http://f", "/s", "e", "t", str(WORKLOAD), {"id": "e"}, b"\x00{", 422, "no")
    return replace(made, **changes)  # type: ignore[arg-type]  # the fields are the tests' own


def test_a_dead_letter_keeps_its_bytes_and_counts(store: Store) -> None:
    with store.begin() as work:
        work.dead_letters.keep(letter())
        work.dead_letters.keep(letter(reason="again", error_code=None))
        work.dead_letters.keep(letter(destination="http://g"))
        first, second = sorted(work.dead_letters.find(), key=lambda one: one.destination)
        assert (first.body, first.reason, first.error_code, first.deliveries) == (b"\x00{", "again", None, 2)
        assert first.id is not None
        assert work.dead_letters.get(first.id) == first
        assert work.dead_letters.get(uuid.uuid4()) is None
        assert len(work.dead_letters.of_event("/s", "e")) == 2
        work.dead_letters.mark_redriven(first)
        assert [one.id for one in work.dead_letters.find()] == [second.id]
        assert len(work.dead_letters.find(include_redriven=True)) == 2
        work.dead_letters.keep(letter())
        assert len(work.dead_letters.find()) == 2, "a letter that comes again is open again"
