"""R5: 30 s after the last fault everything has converged, whatever went wrong between whichever two processes.

The tick comes every 5 s, the bake is 0. What was acknowledged during the fault is there after it, exactly once.
"""

from __future__ import annotations

import itertools
import time

import pytest

from tests.faults.proxies import COMMITS, WRITES, AnswerWith, Cut, Fault, Hang, LoseAnswer, Refuse, Slow
from tests.faults.testbed import CLUSTERS, Testbed
from tests.support.running import eventually

pytestmark = pytest.mark.xdist_group("testbed")

FAULT_SECONDS = 2.0
_numbers = itertools.count(1)

EVERYWHERE: dict[str, Fault] = {"refuse": Refuse(), "hang": Hang(), "cut": Cut(200), "slow": Slow(0.3)}
HTTP: dict[str, Fault] = {
    "lost-answer": LoseAnswer(WRITES),
    "429": AnswerWith("429 Too Many Requests", ("Retry-After: 1",)),
    "500": AnswerWith("500 Internal Server Error"),
}
SQL: dict[str, Fault] = {"lost-answer": LoseAnswer(COMMITS)}
FAULTS: dict[str, dict[str, Fault]] = {
    "kubernetes-local": EVERYWHERE | HTTP,
    "functions": EVERYWHERE | HTTP,
    "ingress": EVERYWHERE | HTTP | {"cut": Cut(20)},
    "postgres": EVERYWHERE | SQL,
}


@pytest.mark.parametrize(
    ("link", "fault"),
    [pytest.param(link, fault, id=f"{link}-{name}") for link, found in FAULTS.items() for name, fault in found.items()],
)
def test_r5_everything_converges_after_a_fault_between_two_processes(testbed: Testbed, link: str, fault: Fault) -> None:
    run = next(_numbers)
    names = [f"link{run}-{number}" for number in range(6)]
    # A broker carries what a function answers; only what a function answers to others is published to the ingress.
    submit = testbed.submit_to_the_function if link == "ingress" else testbed.submit
    with testbed.failing(link, fault):
        for number, name in enumerate(names):
            submit(name, CLUSTERS[number % 2])
        time.sleep(FAULT_SECONDS)
        eventually(lambda: testbed.hits(link), bool)
    testbed.converged(lambda: testbed.exactly_once(names))


@pytest.mark.parametrize("process", ["local", "workload-intake", "deployment-execution", "postgres", "broker"])
def test_r5_everything_converges_after_a_process_was_stopped_for_a_while(testbed: Testbed, process: str) -> None:
    run = next(_numbers)
    names = [f"stopped{run}-{number}" for number in range(6)]
    for number, name in enumerate(names):
        testbed.submit(name, CLUSTERS[number % 2])
    with testbed.stopped(process):
        time.sleep(FAULT_SECONDS)
    testbed.converged(lambda: testbed.exactly_once(names))
