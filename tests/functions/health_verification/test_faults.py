"""Faults of GPUs: hardware moves workloads off its node, an application moves nothing, and a fleet that fails at once
is left to people.
"""

import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from functions.health_verification import function as health_verification
from functions.health_verification.handler import perform
from shared.eventing.processing import HttpAnswer
from shared.models.faults import DEFAULT_FAULT_RULES, FaultRules
from shared.models.lifecycle import Phase
from shared.models.node import Node
from shared.models.plan import Verb
from shared.models.telemetry import agent_source
from shared.operations import nodes
from shared.settings import DEFAULT_IMAGE_PULL_GRACE
from shared.store.tables import fault_responses, gpu_faults
from shared.store.tables import nodes as nodes_table
from tests.support.builders import TESTS, connection_of, gpu_fault, in_parallel, request
from tests.support.chain import TICK, Chain, Message

FAULT = "dev.sentinel.gpu.fault.v1"
HARDWARE = {"blame": "gpu", "xid": 79, "action": "RESET_GPU", "message": "XID 79: GPU has fallen off the bus"}


def pods(chain: Chain, name: str = "web") -> dict[str, str]:
    """The nodes of a workload's pods that run, by the pods' names."""
    found = chain.until_seen(lambda: chain.site.objects("Pod"), lambda all_: all("nodeName" in p["spec"] for p in all_))
    return {
        pod["metadata"]["name"]: pod["spec"]["nodeName"]
        for pod in found
        if pod["metadata"]["labels"]["app.kubernetes.io/name"] == name and "deletionTimestamp" not in pod["metadata"]
    }


def running(chain: Chain, name: str = "web", **fields: Any) -> str:
    """A workload of one pod that is healthy. Returns the pod's node."""
    chain.submit(name, **fields)
    chain.workload_is(Phase.HEALTHY, name)
    return next(iter(pods(chain, name).values()))


def fault(chain: Chain, node: str, *names: str, fault_id: uuid.UUID | None = None, **fields: Any) -> Message:
    """A fault of hardware on a node, with all the pods that workloads have there."""
    there = [pod for name in names for pod, at in pods(chain, name).items() if at == node]
    containers = [{"namespace": chain.site.namespace, "pod": pod, "container": "main"} for pod in there]
    told = gpu_fault(**{"node": node, "containers": containers, **HARDWARE, **fields})
    if fault_id is not None:
        told["fault"] = str(fault_id)
    return request(FAULT, told, subject=node, source=agent_source("local", node))


def node_of(chain: Chain, name: str) -> Node | None:
    with chain.store.begin() as work:
        return work.nodes.get("local", name)


def with_rules(chain: Chain, **rules: Any) -> None:
    """Verification answers faults by other rules."""
    built = health_verification.build(
        partial(perform, chain.site), pull_grace=DEFAULT_IMAGE_PULL_GRACE, rules=replace(DEFAULT_FAULT_RULES, **rules)
    )
    chain.routes = {**chain.routes, **dict.fromkeys(built.accepts, built)}


def of_a_fleet(chain: Chain, size: int = 8) -> None:
    """The cluster has shown so many GPU nodes."""
    with chain.store.begin() as work:
        work.nodes.keep("local", {f"node-{number}": {"L4": 4} for number in range(size)})


def proposals(chain: Chain) -> list[str]:
    return [kind for kind in chain.told_types() if kind == "plan.proposed"]


def test_a_fault_of_hardware_excludes_its_node_and_moves_what_runs_there(chain: Chain) -> None:
    node = running(chain)
    held = chain.reserved()
    chain.run([fault(chain, node, "web")])
    assert chain.plan().decision.verb is Verb.RESCHEDULE
    chain.workload_is(Phase.HEALTHY)
    chain.until_seen(lambda: set(pods(chain).values()), lambda there: bool(there) and node not in there)
    assert [one.rollback_of for one in chain.revisions()] == [None, None]
    assert chain.reserved() == held
    found = node_of(chain, node)
    assert found is not None
    assert (found.excluded, [one.xid for one in found.faults]) == (True, [79])
    assert "gpu.fault.noted" not in chain.actions()


def test_an_application_fault_leaves_a_note_and_nothing_else(chain: Chain) -> None:
    node = running(chain)
    chain.run([fault(chain, node, "web", blame="pod", xid=13, action=None)])
    assert len(chain.revisions()) == 1
    assert chain.plan().decision.verb is Verb.DEPLOY
    assert chain.actions()[-1] == "gpu.fault.noted"
    assert node_of(chain, node) is None


@pytest.mark.slow
def test_what_is_delivered_of_a_fault_again_changes_nothing(chain: Chain) -> None:
    node = running(chain)
    message = fault(chain, node, "web", fault_id=uuid.uuid4())
    headers, body = message
    again = [({**headers, "ce-id": f"again-{number}"}, body) for number in range(3)]
    answers = in_parallel(*(partial(chain.send, one) for one in (message, message, *again)))
    assert {one.status for one in answers} <= {200, 202, 409, 503}
    chain.run([message, *again])
    chain.workload_is(Phase.HEALTHY)
    assert [one.revision for one in chain.revisions()] == [1, 2]
    assert chain.actions().count("plan.proposed") == 2
    assert (outcomes(chain), "gpu.fault.noted" in chain.actions()) == (["proposed"], False)


def test_faults_at_once_on_one_node_move_a_workload_once(chain: Chain) -> None:
    node = running(chain)
    messages = [fault(chain, node, "web", gpu=f"GPU-{number}") for number in range(4)]
    in_parallel(*(partial(chain.deliver.raw, chain.verification, *one) for one in messages))
    chain.run(messages)
    chain.workload_is(Phase.HEALTHY)
    chain.until(lambda: outcomes(chain), lambda found: "waiting" not in found)
    assert sorted(outcomes(chain)) == ["noted"] * 3 + ["proposed"]
    assert [one.revision for one in chain.revisions()] == [1, 2]


def outcomes(chain: Chain) -> list[str]:
    """What each fault has led to; those that wait are due."""
    with chain.store.begin() as work:
        earlier = fault_responses.update().values(decided_at=fault_responses.c.decided_at - timedelta(seconds=15))
        connection_of(work).execute(earlier.where(fault_responses.c.outcome == "waiting"))
        return list(connection_of(work).execute(sa.select(fault_responses.c.outcome)).scalars())


@pytest.mark.slow
def test_a_plan_in_progress_goes_first_and_then_the_workload_moves_unless_it_has(chain: Chain) -> None:
    node = running(chain)
    approved = chain.until_approved(image="fate.test/ready:2")
    with chain.held_up(approved):  # it was prepared before the node failed, so its pods may come there
        chain.run([fault(chain, node, "web")])
        assert outcomes(chain) == ["waiting"]
        assert chain.plan().decision.verb is Verb.UPDATE
    chain.workload_is(Phase.HEALTHY)
    chain.until(lambda: outcomes(chain), lambda found: found == ["proposed"])
    chain.workload_is(Phase.HEALTHY)
    assert [one.revision for one in chain.revisions()] == [1, 2, 3]
    assert chain.site.object()["spec"]["template"]["spec"]["containers"][0]["image"] == "fate.test/ready:2"
    chain.until_seen(lambda: set(pods(chain).values()), lambda there: bool(there) and node not in there)


@pytest.mark.slow
def test_an_update_after_the_fault_moves_the_workload_and_no_plan_is_added(chain: Chain) -> None:
    node = running(chain)
    approved = chain.until_approved(image="fate.test/ready:2")
    chain.run([fault(chain, node, "web")])
    chain.follow(approved)
    chain.workload_is(Phase.HEALTHY)
    chain.until(lambda: outcomes(chain), lambda found: found == ["noted"])
    assert [one.revision for one in chain.revisions()] == [1, 2]
    chain.until_seen(lambda: set(pods(chain).values()), lambda there: bool(there) and node not in there)


@pytest.mark.slow
def test_a_workload_moves_so_many_times_an_hour_and_again_when_that_is_over(chain: Chain) -> None:
    with_rules(chain, reschedules_per_hour=1, suspect_share=1.0)
    first = running(chain)
    chain.run([fault(chain, first, "web")])
    chain.workload_is(Phase.HEALTHY)
    chain.until_seen(lambda: list(pods(chain).values()), lambda there: len(there) == 1 and there != [first])
    [second] = pods(chain).values()
    chain.run([fault(chain, second, "web")])
    chain.run([request(TICK, {}, subject=None)])
    assert (sorted(outcomes(chain)), len(chain.revisions())) == (["proposed", "waiting"], 2)
    with chain.store.begin() as work:
        hour = fault_responses.update().values(decided_at=fault_responses.c.decided_at - timedelta(hours=1))
        connection_of(work).execute(hour)
    chain.until(lambda: chain.plan().decision.revision, lambda moved: moved == 2)
    chain.workload_is(Phase.HEALTHY)


def test_a_fleet_that_fails_at_once_is_suspect_once_and_nothing_more_is_moved(chain: Chain) -> None:
    of_a_fleet(chain)
    node = running(chain)
    for number in range(2):
        chain.run([fault(chain, f"node-{number}")])
    message = fault(chain, node, "web")
    answer = chain.send(message)
    assert chain.told_types()[-1] == "fleet.suspect"
    assert answer.status == 200
    assert b'"share":0.375' in answer.body.replace(b" ", b"")
    for number in (3, 4):
        assert chain.send(fault(chain, f"node-{number}")).status == 202
    chain.run([message])
    assert (proposals(chain), len(chain.revisions()), node_of(chain, node)) == (proposals(chain)[:1], 1, None)
    assert chain.actions()[-1] == "gpu.fault.noted"
    with chain.store.begin() as work:  # it is over after the window, and another one is told of again
        past = gpu_faults.update().values(raised_at=gpu_faults.c.raised_at - timedelta(minutes=11))
        connection_of(work).execute(past)
    for number in range(3):
        chain.run([fault(chain, f"node-{number}")])
    assert chain.told_types().count("fleet.suspect") == 2


def test_nodes_that_fail_at_once_are_counted_one_after_the_other(chain: Chain) -> None:
    of_a_fleet(chain)
    messages = [fault(chain, f"node-{number}") for number in range(6)]
    answers = in_parallel(*(partial(chain.deliver.raw, chain.verification, *one) for one in messages))
    told = [one.headers["ce-type"] for one in answers if one.status == 200]
    assert told == ["dev.sentinel.fleet.suspect.v1"]
    with chain.store.begin() as work:
        excluded = sa.select(sa.func.count()).where(nodes_table.c.faulty_since.is_not(None))
        assert connection_of(work).execute(excluded).scalar_one() == 2


def pass_node_time(chain: Chain, seconds: int) -> None:
    with chain.store.begin() as work:
        past = nodes_table.update().values(proven_at=nodes_table.c.proven_at - timedelta(seconds=seconds))
        connection_of(work).execute(past)


def test_a_node_is_readmitted_a_quiet_time_after_its_last_fault_is_over(chain: Chain) -> None:
    of_a_fleet(chain)
    ids = [uuid.uuid4(), uuid.uuid4()]
    chain.run([fault(chain, "node-1", fault_id=one) for one in ids])
    for number, one in enumerate(ids):
        chain.run([fault(chain, "node-1", fault_id=one, state="cleared")])
        found = node_of(chain, "node-1")
        assert found is not None
        assert (found.excluded, found.proven_at is not None) == (True, number == 1)
    pass_node_time(chain, 3599)
    chain.tick()
    assert excluded(chain, "node-1")
    pass_node_time(chain, 1)
    chain.tick()
    assert not excluded(chain, "node-1")


def excluded(chain: Chain, name: str) -> bool:
    found = node_of(chain, name)
    return found is not None and found.excluded


def test_a_new_fault_in_the_quiet_time_begins_it_anew(chain: Chain) -> None:
    of_a_fleet(chain)
    for state in ("raised", "cleared"):
        chain.run([fault(chain, "node-1", fault_id=uuid.UUID(int=1), state=state)])
    chain.run([fault(chain, "node-1", fault_id=uuid.UUID(int=2))])
    pass_node_time(chain, 3600)
    chain.tick()
    assert excluded(chain, "node-1")


def test_only_an_operator_ends_what_an_operator_excluded(chain: Chain) -> None:
    of_a_fleet(chain)
    with chain.store.begin() as work:
        nodes.exclude(work, "local", "node-1", "its fans rattle", TESTS)
    for state in ("raised", "cleared"):
        chain.run([fault(chain, "node-1", fault_id=uuid.UUID(int=1), state=state)])
    pass_node_time(chain, 3600)
    chain.tick()
    assert excluded(chain, "node-1")
    chain.run([fault(chain, "node-1", fault_id=uuid.UUID(int=2))])
    with chain.store.begin() as work:
        nodes.clear(work, "local", "node-1", TESTS)
    chain.run([fault(chain, "node-1", fault_id=uuid.UUID(int=2))])  # the operator has seen this one
    assert not excluded(chain, "node-1")


def test_a_fault_that_is_told_of_after_its_end_moves_nothing_and_is_waited_out(chain: Chain) -> None:
    node = running(chain)
    for state in ("cleared", "raised"):
        chain.run([fault(chain, node, "web", fault_id=uuid.UUID(int=1), state=state)])
    found = node_of(chain, node)
    assert found is not None
    assert (found.excluded, found.proven_at is not None, found.faults) == (True, True, ())
    assert len(chain.revisions()) == 1


@pytest.mark.parametrize(("kind", "moves"), [("degraded", False), ("gpu_lost", True)])
def test_a_job_is_begun_anew_only_when_its_gpu_has_failed(chain: Chain, kind: str, *, moves: bool) -> None:
    node = running_job(chain)
    chain.run([fault(chain, node, "train", kind=kind)])
    assert len(chain.revisions("train")) == 1 + moves
    if moves:
        [job] = chain.until_seen(lambda: chain.site.objects("Job"), lambda jobs: len(jobs) == 1)
        assert job["metadata"]["name"] == "train-r2"
        chain.until_seen(lambda: set(pods(chain, "train").values()), lambda there: bool(there) and node not in there)


def running_job(chain: Chain) -> str:
    chain.submit("train", type="training", image="fate.test/slow")
    [node] = chain.until_seen(lambda: pods(chain, "train"), bool).values()
    return node


@pytest.mark.slow
def test_a_rollback_does_not_come_back_to_an_excluded_node(chain: Chain) -> None:
    node = running(chain)
    chain.submit(image="fate.test/never-ready")
    with chain.store.begin() as work:
        nodes.exclude(work, "local", node, "", TESTS)
    chain.pass_time(601)
    chain.tick()
    chain.workload_is(Phase.ROLLED_BACK)
    chain.until_seen(lambda: set(pods(chain).values()), lambda there: bool(there) and node not in there)


@pytest.mark.slow
@pytest.mark.parametrize(("replicas", "verb"), [(2, Verb.UPDATE), (0, Verb.SCALE)])
def test_more_replicas_do_not_come_to_an_excluded_node_and_fewer_replace_no_pod(
    chain: Chain, replicas: int, verb: Verb
) -> None:
    node = running(chain)
    with chain.store.begin() as work:
        nodes.exclude(work, "local", node, "", TESTS)
    chain.submit(replicas=replicas)
    assert chain.plan().decision.verb is verb
    chain.workload_is(Phase.HEALTHY)
    chain.until_seen(lambda: list(pods(chain).values()), lambda there: len(there) == replicas and node not in there)


def test_a_reschedule_that_finds_no_place_is_not_rolled_back_and_recovers(chain: Chain) -> None:
    node = running(chain)
    every = [one["metadata"]["name"] for one in chain.site.someone.get("/api/v1/nodes")["items"]]
    with chain.store.begin() as work:
        for name in every:
            nodes.exclude(work, "local", name, "", TESTS)
    chain.run([fault(chain, node, "web")])
    chain.pass_time(601)
    chain.tick()
    assert (chain.workload().phase, len(chain.revisions())) == (Phase.FAILED, 2)


def test_a_workload_is_moved_while_a_newer_plan_of_it_waits_in_the_queue_and_keeps_its_place(chain: Chain) -> None:
    running(chain, "other", replicas=3)
    node = running(chain)
    chain.limit_gpus(6)
    chain.submit(replicas=4, queue=True, image="fate.test/ready:2")
    assert chain.workload().phase is Phase.QUEUED
    waiting = chain.plan().id
    chain.run([fault(chain, node, "web")])
    assert len(chain.revisions()) == 2
    chain.workload_is(Phase.QUEUED)
    assert chain.plan().id == waiting


@pytest.mark.parametrize(
    ("fields", "source", "said"),
    [
        ({"cluster": "nowhere"}, "/sentinel/agents/nowhere/gpu-0", b"there is no cluster nowhere"),
        ({}, "/sentinel/agents/local/gpu-7", b"is not the agent of node gpu-0"),
    ],
)
def test_a_fault_of_nowhere_or_of_another_agents_node_is_refused(
    chain: Chain, fields: dict[str, str], source: str, said: bytes
) -> None:
    answer: HttpAnswer = chain.deliver(chain.verification, FAULT, gpu_fault(**HARDWARE | fields), source=source)
    assert answer.status == 422
    assert said in answer.body


def test_a_few_nodes_of_a_small_fleet_may_fail_each_by_itself() -> None:
    rules = FaultRules(suspect_share=0.25)
    assert [rules.has_common_cause(*one) for one in ((1, 1), (1, 3), (2, 8), (2, 7), (3, 8))] == [
        *[False] * 3,
        *[True] * 2,
    ]


@pytest.mark.slow
def test_faults_ticks_and_edits_of_the_same_workloads_do_not_lock_each_other(chain: Chain) -> None:
    with_rules(chain, suspect_share=1.0, quiet_time=timedelta(0))
    names = [f"w{number}" for number in range(6)]
    for name in names:
        chain.apply(name)
    containers = [
        {"namespace": chain.site.namespace, "pod": f"{one}-7d9f6c8b5-x2x7k", "container": "main"} for one in names
    ]
    told = [gpu_fault(**HARDWARE, node=f"node-{number % 3}", containers=containers) for number in range(9)]
    over = [{**one, "state": "cleared"} for one in told]
    chain.pass_time(3, observed_at=True)
    work: list[Message] = [request(FAULT, one, source=agent_source("local", one["node"])) for one in (*told, *over)]
    work += [request(TICK, {}, subject=None) for _ in range(9)]
    work += [chain.submitted(name, image="fate.test/ready:2") for name in names]
    random.Random(5).shuffle(work)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(chain.send, work))
    assert [one.outcome for one in answers if one.status not in (200, 202)] == []
