"""Intake through the endpoint core, on PostgreSQL: bad input, generations, placement, prices, verbs, withdrawal."""

import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from operator import itemgetter
from typing import Any

import pytest
import sqlalchemy as sa

from events.plan import PlanProposed
from events.workload import WorkloadRejected
from shared.eventing.processing import HttpAnswer
from shared.models.bindings import ALLOW_ALL
from shared.models.cluster import Cluster
from shared.models.lifecycle import Phase, PlanStatus, RevisionStatus
from shared.models.plan import PlanSource, Verb
from shared.models.stored import Workload
from shared.models.workload import WorkloadSpec, workload_id
from shared.operations.submit import SubmitWorkload, submit
from shared.operations.withdraw import WithdrawWorkload, withdraw
from shared.store.rows import WORKLOAD_LOCKS
from shared.store.unit_of_work import Store
from tests.support.builders import (
    INTAKE,
    PROPOSED,
    REJECTED,
    SUBMITTED,
    TESTS,
    WITHDRAWN,
    Deliver,
    connection_of,
    id_of,
    in_parallel,
    revision_of,
    rows,
    submission,
    told,
    withdrawal,
)
from tests.support.running import eventually

_STATUS_IN = {
    phase: RevisionStatus(phase)
    for phase in (Phase.VERIFYING, Phase.REMOVING, Phase.REMOVED, Phase.UNHEALTHY, Phase.DEGRADED)
}


def proposed(answer: HttpAnswer) -> PlanProposed:
    event = told(answer)
    assert event.type == PROPOSED, event.data
    return PlanProposed.model_validate(event.data)


def errors(answer: HttpAnswer) -> dict[str, str]:
    """Message by field, of a rejection."""
    assert answer.status == 200, answer
    event = told(answer)
    assert event.type == REJECTED, event.data
    return {error.field: error.message for error in WorkloadRejected.model_validate(event.data).errors}


def stored(store: Store, name: str = "test-inference") -> Workload:
    with store.begin() as work:
        workload = work.workloads.get(id_of(name))
    assert workload is not None
    return workload


def running(store: Store, name: str = "test-inference", phase: Phase = Phase.HEALTHY) -> None:
    """Makes a workload look as verification leaves it, with its newest plan as its first revision."""
    with store.begin() as work:
        known = work.workloads.get(id_of(name), lock=True)
        assert known is not None
        for step in (Phase.APPROVED, Phase.APPLYING, Phase.VERIFYING, Phase.HEALTHY):
            work.workloads.advance(known, step)
            known = work.workloads.get(known.id)
            assert known is not None
        connection_of(work).execute(
            sa.text("UPDATE workloads SET phase = :phase, revision = 1 WHERE id = :id"),
            {"phase": phase, "id": known.id},
        )
        plan = work.plans.get(known.plan_id)
        assert plan is not None
        work.deployments.add(revision_of(known, plan, _STATUS_IN.get(phase, RevisionStatus.HEALTHY)))


def waiting_for_the_workload(engine: sa.Engine) -> bool:
    """Whether a transaction waits until another one is done with the same id of a workload."""
    with engine.connect() as connection:
        waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND classid = :locks)"
        return bool(connection.execute(sa.text(waiting), {"locks": WORKLOAD_LOCKS}).scalar_one())


# A new workload ------------------------------------------------------------------------------------------------------


def test_a_new_workload_is_stored_priced_placed_and_proposed(deliver: Deliver, store: Store) -> None:
    answer = deliver.submit(generation=7)
    plan, workload = proposed(answer), stored(store)
    assert told(answer).subject == told(answer).attributes["partitionkey"] == str(id_of())
    assert (plan.workload, plan.generation, plan.source) == (id_of(), 7, PlanSource.USER)
    assert (plan.decision.verb, plan.decision.cluster, plan.decision.replicas) == (Verb.DEPLOY, "local", 2)
    # One L4, four cores and eight GiB by the shipped catalogue.
    replica = Decimal("0.805") + 4 * Decimal("0.031611") + 8 * Decimal("0.004237")
    assert (workload.usd_per_replica_hour, plan.usd_per_hour) == (replica, 2 * replica)
    assert (workload.generation, workload.phase, workload.cluster, workload.plan_id) == (
        7,
        Phase.PROPOSED,
        "local",
        plan.plan,
    )
    assert (workload.revision, workload.withdrawn) == (0, False)
    with store.begin() as work:
        kept = work.plans.get(plan.plan)
    assert kept is not None
    assert (kept.sku, kept.status, kept.surge.replicas, kept.amounts.replicas) == ("L4", PlanStatus.PROPOSED, 0, 2)
    assert (kept.amounts.cpu, kept.amounts.memory, kept.amounts.gpus) == (8000, 16 * 1024**3, 2)


def test_defaults_and_spellings_are_normalised(deliver: Deliver, store: Store) -> None:
    spelled = {"count": 1, "sku": "NVIDIA H100 80GB HBM3"}
    answer = deliver(
        INTAKE,
        SUBMITTED,
        {"name": "small", "type": "batch", "image": "busybox", "resources": {"gpu": spelled}},
        subject=None,
    )
    plan = proposed(answer)
    assert plan.workload == workload_id("default", "default", "small")
    with store.begin() as work:
        kept = work.plans.get(plan.plan)
    assert kept is not None
    assert (kept.sku, kept.amounts.cpu, kept.amounts.memory) == ("H100", 1000, 1024**3)


def failures(*rules: dict[str, Any]) -> dict[str, Any]:
    """A Job that says what failures of its pods mean."""
    return {"type": "batch", "podFailurePolicy": {"rules": rules}}


@pytest.mark.parametrize(("replicas", "most"), [({"min": 2, "max": 6}, 6), ({"max": 3}, 3), (None, 10_000)])
def test_what_an_autoscaler_may_run_at_most_is_priced_and_planned(
    deliver: Deliver, store: Store, replicas: object, most: int
) -> None:
    plan, workload = proposed(deliver.submit(replicas=replicas)), stored(store)
    assert (plan.decision.replicas, plan.usd_per_hour) == (most, most * workload.usd_per_replica_hour)
    assert workload.spec.most_replicas == most
    with store.begin() as work:
        kept = work.plans.get(plan.plan)
    assert kept is not None
    assert (kept.amounts.replicas, kept.amounts.gpus) == (most, most)


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"replicas": -1}, "replicas", "greater than or equal to 0"),
        ({"replicas": 10_001}, "replicas", "less than or equal to 10000"),
        ({"replicas": 1.5}, "replicas", "valid integer"),
        ({"replicas": "2"}, "replicas", "valid integer"),
        ({"replicas": True}, "replicas", "valid integer"),
        ({"replicas": {"min": 1}}, "replicas.max", "Field required"),
        ({"replicas": {"min": 7, "max": 6}}, "replicas", "min must be at most max: 7 is more than 6"),
        ({"replicas": {"max": 10_001}}, "replicas.max", "less than or equal to 10000"),
        ({"type": "batch", "replicas": {"max": 2}}, "", "must be a number: nothing scales a Job"),
        ({"resources": {"gpu": {"count": -1}}}, "resources.gpu.count", "greater than or equal to 0"),
        ({"resources": {"gpu": {"count": 65}}}, "resources.gpu.count", "less than or equal to 64"),
        ({"resources": {"cpu": "NaN"}}, "resources.cpu", "is not a Kubernetes quantity"),
        ({"resources": {"cpu": "-1"}}, "resources.cpu", "must not be negative"),
        (
            {"resources": {"cpu": "0", "memory": "8Gi"}, "replicas": 100},
            "resources.cpu",
            "must be at least 10m a replica",
        ),
        ({"resources": {"cpu": "4", "memory": "1"}}, "resources.memory", "must be at least 6Mi a replica"),
        ({"env": {"DEBUG": True}}, "env.DEBUG.value", "must be text, not true or false: put quotes around it"),
        ({"apiVersion": "apps/v1", "kind": "Deployment"}, "", "is a Kubernetes Deployment; Sentinel takes a workload"),
        ({"deadline": True}, "deadline", "must be a duration with a unit"),
        ({"resources": {"memory": "8GB"}}, "resources.memory", "is not a Kubernetes quantity"),
        ({"resources": {"memory": None}}, "resources.memory", "must be a Kubernetes quantity"),
        ({"resources": {"memory": "7Ei"}}, "resources.memory", "must be at most 32Ti a replica"),
        ({"resources": {"memory": "9E"}}, "resources.memory", "must be at most 32Ti a replica"),
        ({"resources": {"cpu": "9e15"}}, "resources.cpu", "must be at most 10000 cores a replica"),
        ({"resources": {"cpu": 1e300}}, "resources.cpu", "quantity"),
        ({"image": "nginx:latest\n"}, "image", "has a malformed tag"),
        ({"image": "nginx\nevil: true"}, "image", "has a malformed tag"),
        ({"image": ""}, "image", "at least 1 character"),
        ({"namespace": "Kube_System"}, "namespace", "DNS-1123 label"),
        ({"team": "-"}, "team", "DNS-1123 label"),
        ({"type": "daemon"}, "type", "'inference'"),
        ({"surprise": 1}, "surprise", "Extra inputs are not permitted"),
        ({"env": {"A B": "x"}}, "env.A B.[key]", "must be an environment variable name"),
        ({"labels": {"sentinel.dev/team": "x"}}, "", "Sentinel's own prefix"),
        ({"labels": {"a": "x" * 64}}, "labels.a", "label value"),
        ({"ports": [80, 80]}, "", "ports must not repeat a value"),
        ({"ports": [0]}, "ports.0", "greater than or equal to 1"),
        ({"deadline": "PT0S"}, "deadline", "longer than zero"),
        ({"generation": 0}, "generation", "greater than or equal to 1"),
        ({"resources": {"gpu": {"count": 1, "sku": "H900"}}}, "clusters", "no H900 (it has A100-80GB, H100, L4)"),
        ({"clusters": {"matchLabels": {"region": "us"}}}, "clusters", "label region is eu, not us"),
        ({"type": "batch", "replicas": 0}, "", "must be at least 1"),
        ({"backoffLimit": 1}, "", "backoffLimit and podFailurePolicy are of training and batch workloads alone"),
        ({"type": "batch", "backoffLimit": -1}, "backoffLimit", "greater than or equal to 0"),
        (failures(), "podFailurePolicy.rules", "at least 1 item"),
        (failures({"action": "FailIndex"}), "podFailurePolicy.rules.0.action", "'FailJob', 'Ignore' or 'Count'"),
        (failures({"action": "Ignore"}), "podFailurePolicy.rules.0", "exactly one of onExitCodes and onPodConditions"),
        (
            failures({"action": "Ignore", "onExitCodes": {"operator": "In", "values": [0]}}),
            "podFailurePolicy.rules.0.onExitCodes",
            "must not hold 0 when operator is In",
        ),
        (
            failures({"action": "Ignore", "onPodConditions": [{"type": "a b"}]}),
            "podFailurePolicy.rules.0.onPodConditions.0.type",
            "must be a label key",
        ),
    ],
)
def test_a_bad_field_is_named_and_nothing_is_stored(
    deliver: Deliver, owner_engine: sa.Engine, fields: dict[str, Any], field: str, message: str
) -> None:
    found = errors(deliver.submit(**fields))
    assert list(found) == [field]
    assert message in found[field]
    assert rows(owner_engine, "workloads") == rows(owner_engine, "action_plans") == []
    assert [row["action"] for row in rows(owner_engine, "audit_log")] == ["workload.rejected"]
    assert proposed(deliver.submit())


def test_a_name_of_64_characters_is_rejected_and_one_of_63_is_not(deliver: Deliver) -> None:
    assert "at most 63 characters" in errors(deliver.submit("x" * 64))["name"]
    assert proposed(deliver.submit("x" * 63))


def test_every_bad_field_is_named_at_once(deliver: Deliver) -> None:
    found = errors(
        deliver.submit("Bad_Name", replicas=-1, image="a b", resources={"cpu": "x", "gpu": {"count": -2}}, wrong=1)
    )
    assert found.keys() == {"name", "replicas", "image", "resources.cpu", "resources.gpu.count", "wrong"}


@pytest.mark.parametrize("missing", ["name", "type", "image"])
def test_what_has_no_default_is_required(deliver: Deliver, missing: str) -> None:
    data = {key: value for key, value in submission().items() if key != missing}
    answer = deliver(INTAKE, SUBMITTED, data, subject=None)
    assert errors(answer) == {missing: "Field required"}
    identity = told(answer).data["workload"]  # type: ignore[call-overload, index]  # a rejection's data is an object
    assert identity == (None if missing == "name" else str(id_of()))


@pytest.mark.parametrize("body", [b"[]", b"7", b'"text"', b"null"])
def test_data_that_is_no_object_is_rejected(deliver: Deliver, body: bytes) -> None:
    answer = deliver(INTAKE, SUBMITTED, body, subject="given")
    assert errors(answer) == {"": "must be a JSON object"}
    assert told(answer).subject == "given"


@pytest.mark.parametrize(
    "body",
    [
        b'{"replicas": NaN}',
        b'{"replicas": 1e999}',
        b'{"name": "a", "name": "b"}',
        json.dumps(submission(args=["\x00"])).encode(),
        json.dumps(submission(env={"A": "\ud800"})).encode(),
    ],
)
def test_what_is_not_json_is_malformed(deliver: Deliver, body: bytes) -> None:
    assert deliver(INTAKE, SUBMITTED, body).status == 400


def test_a_rejection_without_a_subject_gets_one_that_follows_from_the_event(deliver: Deliver) -> None:
    subjects = {told(deliver(INTAKE, SUBMITTED, b"[]", subject=None, event_id="e")).subject for _ in range(2)}
    assert len(subjects) == 1
    assert None not in subjects


def test_a_rejection_of_many_fields_stays_small(deliver: Deliver) -> None:
    answer = deliver(INTAKE, SUBMITTED, {**submission(), **{f"unknown{n}": 1 for n in range(500)}}, subject=None)
    assert len(errors(answer)) == 100
    assert len(answer.body) < 16_000


def test_an_unpriced_gpu_is_rejected(deliver: Deliver, store: Store) -> None:
    with store.begin() as work:
        work.catalogue.register_cluster(Cluster("exotic", {"region": "mars"}, {"X9": 8}))
    answer = deliver.submit(resources={"gpu": {"count": 1, "sku": "X9"}}, clusters={"matchLabels": {"region": "mars"}})
    assert "GPU X9 has no price on cluster exotic" in errors(answer)["resources.gpu.sku"]


def test_without_a_cluster_nothing_can_be_placed(deliver: Deliver, owner_engine: sa.Engine) -> None:
    with owner_engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM clusters"))
    assert errors(deliver.submit()) == {"clusters": "no cluster is registered"}


def test_values_are_never_repeated_in_a_rejection(deliver: Deliver, owner_engine: sa.Engine) -> None:
    answer = deliver.submit(env={"TOKEN": {"secret": "S-e-c-r-e-t\n", "key": "k"}, "B": 7})
    assert b"S-e-c-r-e-t" not in answer.body
    assert all(b"S-e-c-r-e-t" not in bytes(row["body"]) for row in rows(owner_engine, "audit_log"))


# Generations ---------------------------------------------------------------------------------------------------------


def test_another_order_of_the_environment_is_another_generation(deliver: Deliver, store: Store) -> None:
    env = {"PG_HOST": "db", "APP_URL": "pg://$(PG_HOST)"}
    deliver.submit(generation=1, env=dict(reversed(env.items())))
    assert deliver.submit(generation=1, env=dict(reversed(env.items()))).status == 202
    assert told(deliver.submit(generation=1, env=env)).type == REJECTED
    assert proposed(deliver.submit(generation=2, env=env)).generation == 2


def test_a_slice_that_its_gpu_does_not_have_is_refused_with_those_that_it_has(deliver: Deliver, store: Store) -> None:
    with store.begin() as work:
        work.catalogue.register_cluster(Cluster("local", {"region": "eu"}, {"A100-40GB": 8}))
    found = errors(deliver.submit(resources={"gpu": {"count": 1, "sku": "A100-40GB", "mig": "1g.6gb"}}))
    assert found["resources.gpu.mig"].startswith("GPU A100-40GB has no MIG profile 1g.6gb; it has 1g.5gb, ")


def test_posting_again_is_the_next_generation(deliver: Deliver, store: Store) -> None:
    first = proposed(deliver.submit())
    second = proposed(deliver.submit(image="nginx:1.30"))
    assert (first.generation, second.generation) == (1, 2)
    workload = stored(store)
    assert (workload.generation, workload.plan_id, workload.spec.image) == (2, second.plan, "nginx:1.30")


@pytest.mark.parametrize("number", [6, 100])
def test_a_higher_number_is_taken(deliver: Deliver, number: int) -> None:
    deliver.submit(generation=5)
    assert proposed(deliver.submit(generation=number)).generation == number


def test_the_present_number_with_the_same_content_is_the_same_submission(
    deliver: Deliver, owner_engine: sa.Engine
) -> None:
    deliver.submit(generation=5)
    answer = deliver.submit(generation=5)
    assert (answer.status, answer.body) == (202, b"")
    assert len(rows(owner_engine, "action_plans")) == 1


@pytest.mark.parametrize(("number", "image"), [(5, "nginx:1.30"), (4, "nginx:1.29"), (1, "nginx:1.29")])
def test_any_other_number_is_refused(deliver: Deliver, store: Store, number: int, image: str) -> None:
    deliver.submit(generation=5)
    found = errors(deliver.submit(generation=number, image=image))
    assert "the workload is at generation 5" in found["generation"]
    assert stored(store).spec.image == "nginx:1.29"


def test_two_submissions_at_once_are_two_generations_or_one_and_a_conflict(
    deliver: Deliver, owner_engine: sa.Engine
) -> None:
    answers = in_parallel(*(partial(deliver.submit, image=f"nginx:{n}") for n in range(4)))
    assert {answer.status for answer in answers} <= {200, 409}
    taken = [proposed(answer).generation for answer in answers if answer.status == 200]
    assert sorted(taken) == list(range(1, len(taken) + 1))
    assert len(rows(owner_engine, "workloads")) == 1
    assert len(rows(owner_engine, "action_plans")) == len(taken)


# Verbs ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [Phase.HEALTHY, Phase.DEGRADED, Phase.UNHEALTHY, Phase.VERIFYING, Phase.ROLLED_BACK])
def test_only_other_replicas_of_what_runs_is_a_scale(deliver: Deliver, store: Store, phase: Phase) -> None:
    deliver.submit()
    running(store, phase=phase)
    plan = proposed(deliver.submit(replicas=5, priority=3))
    assert (plan.decision.verb, plan.decision.replicas) == (Verb.SCALE, 5)
    assert stored(store).revision == 1


@pytest.mark.parametrize(
    ("phase", "fields"),
    [
        (Phase.HEALTHY, {"image": "nginx:1.30"}),
        (Phase.HEALTHY, {"image": "nginx:1.30", "replicas": 5}),
        (Phase.UNHEALTHY, {"image": "nginx:1.30", "replicas": 1}),
        (Phase.REMOVING, {"replicas": 1}),
    ],
)
def test_anything_else_is_an_update_with_a_surge(
    deliver: Deliver, store: Store, phase: Phase, fields: dict[str, Any]
) -> None:
    deliver.submit()
    running(store, phase=phase)
    plan = proposed(deliver.submit(**fields))
    with store.begin() as work:
        kept = work.plans.get(plan.plan)
    assert kept is not None
    assert (plan.decision.verb, kept.surge.replicas, kept.surge.gpus) == (Verb.UPDATE, 1, 1)


def test_a_job_is_never_scaled(deliver: Deliver, store: Store) -> None:
    deliver.submit(type="training")
    running(store)
    assert proposed(deliver.submit(type="training", replicas=5)).decision.verb is Verb.UPDATE


def test_after_a_removal_it_is_deployed_anew(deliver: Deliver, store: Store) -> None:
    deliver.submit()
    running(store, phase=Phase.REMOVED)
    plan = proposed(deliver.submit(type="training"))
    assert plan.decision.verb is Verb.DEPLOY


def test_the_kind_of_what_runs_cannot_change(deliver: Deliver, store: Store) -> None:
    deliver.submit()
    running(store)
    message = errors(deliver.submit(type="stateful"))["type"]
    assert message == "would change the kind from Deployment to StatefulSet; withdraw it first"
    assert proposed(deliver.submit(type="service")).decision.verb is Verb.SCALE, "it changes nothing on the cluster"


def test_what_runs_stays_on_its_cluster(deliver: Deliver, store: Store) -> None:
    deliver.submit()
    running(store)
    with store.begin() as work:
        work.catalogue.register_cluster(Cluster("big", {"region": "us"}, {"L4": 1000}))
    assert proposed(deliver.submit(image="nginx:1.30")).decision.cluster == "local"
    found = errors(deliver.submit(clusters={"matchLabels": {"region": "us"}}))
    assert "no longer allow cluster local" in found["clusters"]


def test_a_new_workload_goes_where_most_is_free(deliver: Deliver, store: Store) -> None:
    with store.begin() as work:
        work.catalogue.register_cluster(Cluster("big", {"region": "us"}, {"L4": 1000}))
    assert proposed(deliver.submit()).decision.cluster == "big"


# Withdrawal ----------------------------------------------------------------------------------------------------------


def test_a_withdrawal_proposes_a_removal_once(deliver: Deliver, store: Store) -> None:
    deliver.submit()
    running(store)
    plan = proposed(deliver.withdraw())
    assert (plan.decision.verb, plan.decision.replicas, plan.generation) == (Verb.REMOVE, 0, 1)
    workload = stored(store)
    assert (workload.withdrawn, workload.phase, workload.plan_id) == (True, Phase.PROPOSED, plan.plan)
    assert (deliver.withdraw().status, stored(store).plan_id) == (202, plan.plan)


def test_an_unknown_workload_cannot_be_withdrawn(deliver: Deliver) -> None:
    assert errors(deliver.withdraw("nobody")) == {"name": "there is no workload search/search/nobody"}


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        ({}, {"name"}),
        ({**withdrawal(), "force": True}, {"force"}),
        ({"name": 7, "team": "A"}, {"name", "team"}),
        ({**withdrawal(), "generation": "2"}, {"generation"}),
    ],
)
def test_a_withdrawal_is_validated_too(deliver: Deliver, data: dict[str, object], fields: set[str]) -> None:
    assert errors(deliver(INTAKE, WITHDRAWN, data)).keys() == fields


def test_a_withdrawal_that_comes_late_removes_nothing_newer(deliver: Deliver, store: Store) -> None:
    deliver.submit(generation=3)
    found = errors(deliver.withdraw(generation=2))
    assert found["generation"].startswith("the workload is at generation 3, which is newer than what this withdraws")
    assert (stored(store).withdrawn, stored(store).generation) == (False, 3)


@pytest.mark.parametrize("withdrawn", [3, 5])
def test_a_withdrawal_has_its_place_among_the_submissions(deliver: Deliver, store: Store, withdrawn: int) -> None:
    """A submission that it overtook is not taken after it."""
    deliver.submit(generation=3)
    assert proposed(deliver.withdraw(generation=withdrawn)).generation == withdrawn
    assert f"the workload is at generation {withdrawn}" in errors(deliver.submit(generation=withdrawn))["generation"]
    assert stored(store).withdrawn
    assert proposed(deliver.submit(generation=withdrawn + 1)).generation == withdrawn + 1


def test_a_withdrawal_before_the_first_submission_is_remembered(deliver: Deliver, owner_engine: sa.Engine) -> None:
    answers = [deliver.withdraw(generation=number) for number in (3, 5, 4)]
    assert [(answer.status, answer.body) for answer in answers] == [(202, b"")] * 3
    for number in (1, 5):
        assert (
            "was withdrawn at generation 5, before this came" in errors(deliver.submit(generation=number))["generation"]
        )
    assert rows(owner_engine, "workloads") == rows(owner_engine, "action_plans") == []
    audited = [row for row in rows(owner_engine, "audit_log") if row["subject"] == str(id_of())]
    actions = [row["action"] for row in sorted(audited, key=itemgetter("sequence"))]
    assert actions == ["workload.withdrawn"] * 2 + ["workload.rejected"] * 2
    assert errors(deliver.withdraw()).keys() == {"name"}, "without a number it is about no submission that may come"


@pytest.mark.parametrize("given", [None, 6, 9])
def test_a_submission_that_is_newer_than_an_early_withdrawal_is_taken(deliver: Deliver, given: int | None) -> None:
    deliver.withdraw(generation=5)
    answer = deliver.submit() if given is None else deliver.submit(generation=given)
    assert proposed(answer).generation == (given or 6)
    assert proposed(deliver.withdraw(generation=10)).generation == 10


def test_a_withdrawal_and_the_first_submission_at_once_leave_nothing_that_runs(
    deliver: Deliver, store: Store, owner_engine: sa.Engine
) -> None:
    """Whichever commits first, the other one waits for it, and is delivered again or sees it."""
    command = WithdrawWorkload("search", "search", "test-inference", "a cause", generation=2)
    with ThreadPoolExecutor(1) as thread:
        with store.begin() as work:
            assert withdraw(work, command, TESTS) is None
            submitted = thread.submit(deliver, INTAKE, SUBMITTED, submission(generation=1), subject=None, event_id="e")
            eventually(partial(waiting_for_the_workload, owner_engine), bool)
        assert submitted.result().status == 409
    assert errors(deliver(INTAKE, SUBMITTED, submission(generation=1), subject=None, event_id="e")).keys() == {
        "generation"
    }
    assert rows(owner_engine, "workloads") == []


def test_a_first_submission_and_its_withdrawal_at_once_propose_a_removal(
    deliver: Deliver, store: Store, owner_engine: sa.Engine
) -> None:
    spec = WorkloadSpec.model_validate(submission(generation=1))
    with ThreadPoolExecutor(1) as thread:
        with store.begin() as work:
            assert submit(work, SubmitWorkload(spec, "a cause"), TESTS, ALLOW_ALL)
            withdrawn = thread.submit(deliver.withdraw, generation=2)
            eventually(partial(waiting_for_the_workload, owner_engine), bool)
        assert withdrawn.result().status == 409
    assert proposed(deliver.withdraw(generation=2)).decision.verb is Verb.REMOVE
    assert rows(owner_engine, "withdrawals") == []


def test_a_submission_waits_for_whoever_has_locked_its_workload_and_not_the_other_way_round(
    deliver: Deliver, store: Store, owner_engine: sa.Engine
) -> None:
    deliver.submit(generation=1)
    with ThreadPoolExecutor(1) as thread:
        with store.begin() as work:
            work.workloads.get(id_of(), lock=True)
            submitted = thread.submit(deliver.submit, generation=3)
            waits = sa.text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
            with owner_engine.connect() as connection:
                eventually(lambda: connection.execute(waits).scalar_one(), bool)
            assert withdraw(work, WithdrawWorkload("search", "search", "test-inference", "a cause", 2), TESTS)
        assert proposed(submitted.result()).generation == 3


def test_a_second_withdrawal_with_a_higher_number_counts_without_a_second_removal(
    deliver: Deliver, store: Store
) -> None:
    deliver.submit(generation=1)
    deliver.withdraw(generation=1)
    first = stored(store).plan_id
    assert [deliver.withdraw(generation=number).status for number in (4, 2)] == [202, 202]
    assert (stored(store).plan_id, stored(store).generation) == (first, 4)
    assert "the workload is at generation 4" in errors(deliver.submit(generation=3))["generation"]


@pytest.mark.parametrize("given", [None, 2])
def test_posting_after_a_withdrawal_is_a_new_generation(deliver: Deliver, store: Store, given: int | None) -> None:
    deliver.submit()
    deliver.withdraw()
    plan = proposed(deliver.submit() if given is None else deliver.submit(generation=given))
    assert (plan.decision.verb, plan.generation) == (Verb.DEPLOY, 2)
    assert stored(store).withdrawn is False


def test_the_generation_that_was_withdrawn_does_not_come_back(deliver: Deliver) -> None:
    deliver.submit(generation=3)
    deliver.withdraw()
    assert "generation" in errors(deliver.submit(generation=3))


def test_a_removal_that_failed_can_be_asked_for_again(deliver: Deliver, store: Store) -> None:
    deliver.submit()
    first = proposed(deliver.withdraw())
    assert (deliver.withdraw().status, stored(store).withdrawn) == (202, True)
    running(store, phase=Phase.FAILED)
    assert proposed(deliver.withdraw()).plan != first.plan
