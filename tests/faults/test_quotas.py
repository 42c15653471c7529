"""R10: policy functions that decide at once, one of which is killed, never approve more than a quota or a budget.

Thousands of random plans are decided in tests/shared/store/test_ledger_under_load.py (`make test-slow`).
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from shared.policy.documents import PolicyDocument
from shared.store.unit_of_work import Store
from tests.support.builders import INTAKE, SUBMITTED, Deliver, request, rows, submission
from tests.support.invariants import broken, checked
from tests.support.serving import Served, served

REPLICAS = 3
PLANS = 40
APPROVED = 10
REPLICA_USD = Decimal("0.965340")
"""What each of these workloads costs an hour."""
LIMITS = {
    "quota": {"type": "quota", "scope": "team", "gpus": APPROVED},
    "budget": {"type": "cost_ceiling", "scope": "team", "usd_per_hour": str(APPROVED * REPLICA_USD)},
}


@pytest.fixture
def replicas(database_url: str, tmp_path: Path) -> Iterator[list[Served]]:
    with contextlib.ExitStack() as stack:
        found = []
        for number in range(REPLICAS):
            directory = tmp_path / str(number)
            directory.mkdir()
            found.append(stack.enter_context(served(["policy_evaluation"], directory, DATABASE_URL=database_url)))
        yield found


@pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS.keys())
def test_r10_policy_replicas_never_approve_more_than_the_limit(
    limit: dict[str, Any], replicas: list[Served], store: Store, deliver: Deliver, owner_engine: sa.Engine
) -> None:
    document = PolicyDocument.model_validate({"name": "limit", "rules": [limit]})
    with store.begin() as work:
        work.policies.put(document, "tests")
    proposals = []
    for number in range(PLANS):
        one = submission(f"w{number}", replicas=1)
        proposals.append(deliver.forwarded(deliver.raw(INTAKE, *request(SUBMITTED, one, subject=None))))

    def decide(number: int) -> None:
        headers, body = proposals[number]
        if number == PLANS // 2:
            os.kill(replicas[0].pid, signal.SIGKILL)
        for attempt in range(number, number + REPLICAS):  # a broker would go on to another replica as well
            with contextlib.suppress(OSError, http.client.HTTPException):
                if replicas[attempt % REPLICAS].request("POST", "/", headers, body)[0] == 200:
                    return
        raise AssertionError(f"nobody decided plan {number}")

    with checked(owner_engine, [document], {}), ThreadPoolExecutor(8) as threads:
        list(threads.map(decide, range(PLANS)))
        assert broken(owner_engine) == []
    decisions = rows(owner_engine, "policy_decisions")
    assert sum(row["approved"] for row in decisions) == APPROVED
    assert len(decisions) == PLANS
    assert {row["usd_per_hour"] for row in rows(owner_engine, "reservations")} == {REPLICA_USD}
