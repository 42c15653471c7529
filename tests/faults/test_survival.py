"""R4: what was acknowledged with 2xx survives SIGKILL of PostgreSQL, of any function, of a cluster, of everything."""

from __future__ import annotations

import itertools
import time

import pytest

from shared.models.lifecycle import Phase
from tests.faults.proxies import WRITES, LoseAnswer, Refuse, Slow
from tests.faults.testbed import CLUSTERS, Testbed
from tests.support.running import SUBMITTED, eventually

pytestmark = pytest.mark.xdist_group("testbed-2")

KILLS = 3
OUTAGE_SECONDS, OUTAGE_SECONDS_NIGHTLY = 15.0, 900.0
BEHIND_THE_BROKER = ("functions", "ingress", "postgres", "kubernetes-local", "kubernetes-far")
PROCESSES = (
    "workload-intake",
    "policy-evaluation",
    "deployment-execution",
    "health-verification",
    "event-relay",
    "postgres",
    "local",
    "everything",
)
_numbers = itertools.count(1)


@pytest.mark.parametrize("process", PROCESSES)
def test_r4_what_is_acknowledged_survives_sigkill_of_a_process(testbed: Testbed, process: str) -> None:
    """Killed again and again while workloads are submitted and handled; the kills fall where they fall.

    Once where all functions are started again with it.
    """
    run = next(_numbers)
    names: list[str] = []
    for kill in range(1 if process in ("postgres", "everything") else KILLS):
        batch = [f"killed{run}-{kill}-{number}" for number in range(6)]
        for number, name in enumerate(batch):
            testbed.submit(name, CLUSTERS[number % 2])
        names += batch
        eventually(lambda: testbed.pids(process) or process == "everything", bool)
        testbed.kill(process)
    testbed.converged(lambda: testbed.exactly_once(names))


def test_r4_dead_letters_survive_sigkill_of_the_function_that_keeps_them(testbed: Testbed) -> None:
    """It runs only while there is a dead letter, so it is killed as soon as it has been started for some."""
    refused: set[str] = set()
    for _ in range(KILLS):
        refused |= {testbed.platform.publish(SUBMITTED, b"{not json") for _ in range(6)}
        eventually(lambda: testbed.pids("dead-letter"), bool)
        testbed.kill("dead-letter")

    def lost() -> set[str]:
        kept = testbed.read(lambda work: work.dead_letters.find(limit=1000))
        return refused - {letter.event_id for letter in kept}

    eventually(lost, lambda missing: not missing)


def test_r5_an_execution_that_is_killed_while_the_cluster_works_is_taken_up_within_30_seconds(
    testbed: Testbed,
) -> None:
    """The cluster may have the object, and nobody knows."""
    with testbed.failing("kubernetes-local", Slow(2.0)):
        testbed.submit("halfway", "local")
        eventually(lambda: testbed.phases(["halfway"]).get("halfway"), lambda phase: phase is Phase.APPLYING)
        testbed.kill("deployment-execution")
    testbed.converged(lambda: testbed.exactly_once(["halfway"]))


def test_r4_what_is_acknowledged_survives_an_outage_of_everything_behind_the_broker(
    testbed: Testbed, nightly: bool
) -> None:
    """Submissions and a withdrawal come meanwhile. The broker alone has them until the outage ends."""
    testbed.submit("outage-withdrawn", "local")
    testbed.converged(lambda: testbed.exactly_once(["outage-withdrawn"], ["local"]))
    names = [f"outage-{number}" for number in range(6)]
    for link in BEHIND_THE_BROKER:
        testbed.fail(link, Refuse())
    for number, name in enumerate(names):
        testbed.submit(name, CLUSTERS[number % 2])
    testbed.withdraw("outage-withdrawn")
    time.sleep(OUTAGE_SECONDS_NIGHTLY if nightly else OUTAGE_SECONDS)
    testbed.mend()

    def wrong() -> list[str]:
        return testbed.exactly_once(names) + testbed.remaining(["outage-withdrawn"])

    print(f"R4, R5: converged within {testbed.converged(wrong):.1f} s")


def test_r4_a_withdrawal_survives_answers_that_are_lost(testbed: Testbed) -> None:
    """Neither the answer to the deletion nor that to any other write arrives until the fault ends."""
    names = [f"withdrawn-{number}" for number in range(4)]
    for name in names:
        testbed.submit(name, "local")
    testbed.converged(lambda: testbed.exactly_once(names, ["local"]))
    with testbed.failing("kubernetes-local", LoseAnswer(WRITES)):
        for name in names:
            testbed.withdraw(name)
        eventually(lambda: testbed.hits("kubernetes-local"), bool)
    testbed.converged(lambda: testbed.remaining(names))
