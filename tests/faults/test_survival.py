"""R4: what was acknowledged with 2xx survives SIGKILL of PostgreSQL, of any function, of a cluster, of everything."""

from __future__ import annotations

import itertools

import pytest

from shared.models.lifecycle import Phase
from tests.faults.proxies import WRITES, LoseAnswer, Slow
from tests.faults.testbed import CLUSTERS, LEASE_SECONDS, Testbed
from tests.support.running import eventually

pytestmark = pytest.mark.xdist_group("testbed-2")

KILLS = 3
PROCESSES = (
    "workload-intake",
    "policy-evaluation",
    "deployment-execution",
    "health-verification",
    "postgres",
    "local",
    "everything",
)
_numbers = itertools.count(1)


@pytest.mark.parametrize("process", PROCESSES)
def test_r4_what_is_acknowledged_survives_sigkill_of_a_process(testbed: Testbed, process: str) -> None:
    """Killed again and again while workloads are submitted and handled; the kills fall where they fall."""
    run = next(_numbers)
    names: list[str] = []
    for kill in range(1 if process == "everything" else KILLS):
        batch = [f"killed{run}-{kill}-{number}" for number in range(6)]
        for number, name in enumerate(batch):
            testbed.submit(name, CLUSTERS[number % 2])
        names += batch
        eventually(lambda: testbed.pids(process) or process == "everything", bool)
        testbed.kill(process)
    testbed.converged(lambda: testbed.exactly_once(names), LEASE_SECONDS)


@pytest.mark.xfail(strict=True, reason="the lease of an execution lasts 45 s, also when its process is gone")
def test_r5_an_execution_that_is_killed_while_the_cluster_answers_is_taken_up_within_30_seconds(
    testbed: Testbed,
) -> None:
    """The cluster has the object, and nobody knows."""
    try:
        with testbed.failing("kubernetes-local", Slow(2.0)):
            testbed.submit("halfway", "local")
            eventually(lambda: testbed.phases(["halfway"]).get("halfway"), lambda phase: phase is Phase.APPLYING)
            testbed.kill("deployment-execution")
        testbed.converged(lambda: testbed.exactly_once(["halfway"]))
    finally:
        testbed.converged(lambda: testbed.exactly_once(["halfway"]))  # R4: it is late, and not lost


def test_r4_a_withdrawal_survives_answers_that_are_lost(testbed: Testbed) -> None:
    """Neither the answer to the deletion nor that to any other write arrives until the fault ends."""
    names = [f"withdrawn-{number}" for number in range(4)]
    for name in names:
        testbed.submit(name, "local")
    testbed.converged(lambda: testbed.exactly_once(names, ["local"]))
    with testbed.failing("kubernetes-local", LoseAnswer(WRITES)):
        for name in names:
            testbed.withdraw(name)
        eventually(lambda: testbed.struck("kubernetes-local"), bool)

    def remaining() -> list[str]:
        left = set(testbed.objects()) & set(names)
        return [f"{name} is still there" for name in left] + [
            f"{name} is {phase}" for name, phase in testbed.phases(names).items() if phase is not Phase.REMOVED
        ]

    testbed.converged(remaining)
