"""R8: a function's or a caller's clock that is one hour off changes no decision: `now` comes from PostgreSQL.

Each function of the testbed has a clock of its own: one hour fast, or one hour slow. So every other test here is one of
this promise too.
"""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.models.lifecycle import Phase
from shared.policy.documents import PolicyDocument
from tests.faults import manifests
from tests.faults.testbed import Testbed
from tests.support.running import SUBMITTED, eventually, workload

pytestmark = pytest.mark.xdist_group("testbed-2")

HOUR = timedelta(hours=1)


def freeze(team: str, starts_in: timedelta) -> PolicyDocument:
    """Nothing of a team may be changed for an hour."""
    start = (datetime.now(UTC) + starts_in).replace(tzinfo=None, microsecond=0)
    window = {"start": start.isoformat(), "duration": "PT1H", "timezone": "UTC"}
    rule = {"type": "change_freeze", "windows": [window]}
    return PolicyDocument.model_validate({"name": f"freeze-{team}", "selector": {"teams": [team]}, "rules": [rule]})


@pytest.mark.parametrize("off", [-HOUR, HOUR], ids=["slow", "fast"])
def test_r8_a_caller_whose_clock_is_off_is_held_to_the_freeze_of_the_moment(testbed: Testbed, off: timedelta) -> None:
    """One freeze began half an hour ago, and one begins in half an hour."""
    name = "slow" if off < timedelta() else "fast"
    for team, starts_in in (("frozen", -HOUR / 2), ("free", HOUR / 2)):
        testbed.put(freeze(team, starts_in))
        fields: dict[str, Any] = {"team": team, "clusters": {"matchLabels": {"place": "local"}}}
        said = (datetime.now(UTC) + off).isoformat()
        testbed.platform.publish(SUBMITTED, workload(f"{team}-{name}", **fields), time=said)
    names = [f"frozen-{name}", f"free-{name}"]
    expected = {names[0]: Phase.DENIED, names[1]: Phase.HEALTHY}
    eventually(lambda: testbed.phases(names), lambda found: found == expected)


@pytest.mark.parametrize("off", [-3600, 3600])
def test_the_clock_of_a_function_is_off(off: int) -> None:
    code = "import time, datetime; print(time.time(), datetime.datetime.now(datetime.UTC).timestamp())"
    environment = {"PYTHONPATH": str(manifests.CLOCK), "CLOCK_SHIFT_SECONDS": str(off)}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    for seconds in printed.stdout.split():
        assert float(seconds) - time.time() == pytest.approx(off, abs=60)


def test_r8_functions_whose_clocks_are_off_keep_deadlines(testbed: Testbed) -> None:
    """A deadline of a few seconds is over soon, and one of ten minutes is not."""
    testbed.submit("overdue", "local", image="fate.test/never-ready", deadline="PT3S")
    testbed.submit("patient", "local", image="fate.test/never-ready", deadline="PT10M")
    eventually(lambda: testbed.phases(["overdue"]).get("overdue"), lambda phase: phase is Phase.FAILED)
    assert testbed.phases(["patient"]) == {"patient": Phase.VERIFYING}
    testbed.withdraw("patient")
    eventually(lambda: testbed.phases(["patient"])["patient"], lambda phase: phase is Phase.REMOVED)
