"""R1 to R6 and R10 at once: random histories with faults between and in all processes, on two clusters.

A failure says the seed and a short history that fails as well. `SENTINEL_FAULTS_SEED=n make test-faults` begins there.
"""

from __future__ import annotations

import itertools
import uuid

import pytest

from knative.local.runtime.scratch import scratch_directory
from tests.faults.histories import QUOTA, History, Run, draw, shrunk
from tests.faults.testbed import Testbed

pytestmark = pytest.mark.xdist_group("testbed")

HISTORIES, HISTORIES_NIGHTLY = 2, 200
STEPS = 40
TRIES = 8


def test_r5_random_histories_converge_and_nothing_acknowledged_is_lost(
    testbed: Testbed, nightly: bool, seed: int
) -> None:
    testbed.put(QUOTA)
    for number in range(seed, seed + (HISTORIES_NIGHTLY if nightly else HISTORIES)):
        history = draw(number, STEPS)
        try:
            taken = Run(testbed, f"history{number}-{uuid.uuid4().hex[:6]}").run(history)
        except AssertionError as error:
            again = _fails(history)
            steps = "\n".join(f"  {step}" for step in (shrunk(history, _fails, TRIES) if again else history))
            said = "these steps fail as well" if again else "on a fresh platform it passes; its steps"
            raise AssertionError(f"seed {number}: {error}\n{said}:\n{steps}") from error
        print(f"seed {number}: converged within {taken:.1f} s")


def _fails(history: History) -> bool:
    """On a testbed of its own, for what went wrong may have left traces."""
    with scratch_directory("faults") as directory:
        fresh = Testbed(directory, [QUOTA])
        try:
            fresh.put(QUOTA)
            Run(fresh, "again").run(history)
        except AssertionError:
            return True
        finally:
            fresh.close()
    return False


def test_a_failing_history_is_made_shorter_in_a_bounded_number_of_tries() -> None:
    history = draw(7, 40)
    needed = {3, 29}
    culprits = [history[index] for index in needed]
    tried = itertools.count()

    def fails(shorter: History) -> bool:
        next(tried)
        return all(any(step is culprit for step in shorter) for culprit in culprits)

    assert shrunk(history, fails, 200) == [history[3], history[29]]
    assert next(tried) <= 200
    assert len(shrunk(history, fails, 3)) <= len(history)
