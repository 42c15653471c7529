"""`--wait`: what counts is the generation that the server made, and what the workload settles on."""

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.models.lifecycle import Phase
from shared.policy.documents import PolicyDocument
from shared.store.unit_of_work import Store
from tests.functions.cli.conftest import INSTALLED, Sentinel
from tests.support.brokers import Broker
from tests.support.builders import POLICY, PROPOSED, Deliver, id_of, submission

LABEL = "search/search/test-inference"
ROLLOUT = (Phase.APPLYING, Phase.VERIFYING, Phase.HEALTHY)
ROLLBACK = (
    *(Phase.APPLYING, Phase.VERIFYING, Phase.UNHEALTHY, Phase.PROPOSED, Phase.APPROVED),
    *(Phase.APPLYING, Phase.VERIFYING, Phase.ROLLED_BACK),
)
REMOVAL = (Phase.APPLYING, Phase.REMOVING, Phase.REMOVED)


class Chain:
    """Policy for real; what a cluster would do comes as phases, each in a transaction of its own."""

    def __init__(self, deliver: Deliver, broker: Broker) -> None:
        self._deliver = deliver
        self._threads: list[threading.Thread] = []
        self.phases: tuple[Phase, ...] = ROLLOUT
        self.reason = ""
        broker.taken = self._take

    def _take(self, headers: dict[str, str], body: bytes) -> None:
        thread = threading.Thread(target=self._run, args=(headers, body))
        self._threads.append(thread)
        thread.start()

    def _run(self, headers: dict[str, str], body: bytes) -> None:
        if headers["ce-type"] == PROPOSED:
            self._deliver.raw(POLICY, {**headers, "prefer": "reply"}, body)
            if headers["ce-subject"] == str(id_of()):
                self.reach(*self.phases)

    def reach(self, *phases: Phase) -> None:
        for phase in phases:
            with self._deliver.store.begin() as work:
                workload = work.workloads.get(id_of(), lock=True)
                if workload is None or workload.phase is Phase.DENIED:
                    return
                work.workloads.advance(workload, phase, reason=self.reason if phase is phases[-1] else "")

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


@pytest.fixture
def chain(deliver: Deliver, broker: Broker) -> Iterator[Chain]:
    running = Chain(deliver, broker)
    yield running
    running.join()


def test_a_workload_that_becomes_healthy_is_success(sentinel: Sentinel, chain: Chain) -> None:
    ran = sentinel("submit", "-f", "-", "--wait", "--timeout", "60s", stdin=json.dumps(submission()))
    assert ran.code == 0
    assert ran.out == f"{id_of()}\n"
    assert ran.err.splitlines()[-1] == f"sentinel: {LABEL}: healthy"


def test_a_rollback_is_followed_to_its_end_and_is_no_success(sentinel: Sentinel, chain: Chain) -> None:
    chain.phases, chain.reason = ROLLBACK, "revision 1 runs again"
    ran = sentinel("submit", "-f", "-", "--wait", "--timeout", "60s", stdin=json.dumps(submission()))
    assert ran.code == 1
    assert ran.err.splitlines()[-1] == f"sentinel: {LABEL}: rolled_back: revision 1 runs again"


def test_a_denied_plan_fails_with_the_policys_reason(sentinel: Sentinel, chain: Chain, store: Store) -> None:
    rule = {"type": "cost_ceiling", "scope": "plan", "usd_per_hour": "1"}
    with store.begin() as work:
        work.policies.put(PolicyDocument.model_validate({"name": "cheap", "rules": [rule]}), "tests")
    ran = sentinel("submit", "-f", "-", "--wait", "--timeout", "60s", stdin=json.dumps(submission()))
    assert ran.code == 1
    assert f"sentinel: {LABEL}: denied: the plan would cost " in ran.err


def test_every_workload_is_followed_to_its_own_end(sentinel: Sentinel, chain: Chain) -> None:
    ran = sentinel(
        "submit", "-f", "-", "--wait", "--timeout", "1s", stdin=json.dumps([submission("other"), submission()])
    )
    assert ran.code == 1
    assert f"sentinel: {LABEL}: healthy\n" in ran.err
    assert ran.err.splitlines()[-1] == "sentinel: search/search/other: still approved after 1 s; it goes on"


def test_an_older_state_is_not_taken_for_the_answer(sentinel: Sentinel, chain: Chain, deliver: Deliver) -> None:
    deliver.decide()
    chain.reach(*ROLLOUT)
    chain.phases = (Phase.APPLYING, Phase.FAILED)
    ran = sentinel("submit", "-f", "-", "--wait", "--timeout", "60s", stdin=json.dumps(submission(image="nginx:1.30")))
    assert ran.code == 1
    assert ran.err.splitlines()[-1] == f"sentinel: {LABEL}: failed"


def test_the_same_submission_again_changes_nothing(sentinel: Sentinel, chain: Chain, deliver: Deliver) -> None:
    deliver.decide(generation=1)
    chain.reach(*ROLLOUT)
    ran = sentinel("submit", "-f", "-", "--wait", "--timeout", "60s", stdin=json.dumps(submission(generation=1)))
    assert (ran.code, ran.err.splitlines()[-1]) == (0, f"sentinel: {LABEL}: healthy")


def test_a_later_submission_ends_the_wait_for_an_earlier_one(
    sentinel: Sentinel, broker: Broker, deliver: Deliver
) -> None:
    def overtake(headers: dict[str, str], body: bytes) -> None:
        deliver.submit(image="nginx:1.30")

    broker.taken = overtake
    ran = sentinel("submit", "-f", "-", "--wait", "--timeout", "60s", stdin=json.dumps(submission()))
    assert ran.code == 1
    assert ran.err == f"sentinel: {LABEL}: overtaken by a later submission or withdrawal; now proposed\n"


def test_a_wait_that_is_too_short_says_where_it_stands(sentinel: Sentinel) -> None:
    ran = sentinel("submit", "-f", "-", "--wait", "--timeout", "1ms", stdin=json.dumps(submission()))
    assert ran.code == 1
    assert ran.out == f"{id_of()}\n"
    assert ran.err.splitlines()[-1] == (f"sentinel: {LABEL}: still proposed after 0.001 s; it goes on")


def test_a_removal_is_done_when_the_workload_is_gone(sentinel: Sentinel, chain: Chain, deliver: Deliver) -> None:
    deliver.decide()
    chain.reach(*ROLLOUT)
    chain.phases = REMOVAL
    ran = sentinel("remove", id_of(), "--wait", "--timeout", "1m")
    assert (ran.code, ran.out) == (0, f"{id_of()}\n")
    assert ran.err.splitlines()[-1] == f"sentinel: {LABEL}: removed"
    again = sentinel("remove", id_of(), "--wait")
    assert (again.code, again.out, again.err) == (0, "", f"sentinel: {LABEL} is removed already\n")


def test_a_removal_of_an_older_generation_leaves_the_workload_alone(sentinel: Sentinel, deliver: Deliver) -> None:
    deliver.decide(generation=3)
    ran = sentinel("remove", id_of(), "--generation", "2", "--wait", "--timeout", "1m")
    assert (ran.code, ran.err) == (1, f"sentinel: {LABEL} was left alone: it is at generation 3, not 2\n")
    assert sentinel("remove", id_of(), "--generation", "3").out == f"{id_of()}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--timeout", "5m"), "--timeout needs --wait"),
        (("--wait", "--timeout", "soon"), "--timeout: 'soon' is not a duration such as 10m, 1h30m, 30d or PT10M"),
        (
            ("--wait", "--timeout", "5"),
            "--timeout: '5' is not a duration such as 10m, 1h30m, 30d or PT10M: write 5s, 5m or 5h",
        ),
    ],
)
def test_a_timeout_that_says_nothing_is_refused(
    sentinel: Sentinel, broker: Broker, arguments: tuple[str, ...], said: str
) -> None:
    ran = sentinel("submit", "-f", "-", *arguments, stdin=json.dumps(submission()))
    assert (ran.code, ran.out, ran.err) == (2, "", f"sentinel: {said}\n")
    assert broker.events == []


def test_ctrl_c_ends_the_wait_and_not_the_workload(state: Path, store: Store, tmp_path: Path) -> None:
    file = tmp_path / "workload.json"
    file.write_text(json.dumps(submission()))
    command = [str(INSTALLED), "--state", str(state), "submit", "-f", str(file), "--wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == f"sentinel: {LABEL}: proposed\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == f"{id_of()}\n"
    assert err == "sentinel: stopped waiting; the workloads go on, and `sentinel get` shows how far they are\n"
