"""R9: a full disk gives 503, no partial state, and recovery by itself."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy.exc import SQLAlchemyError

from shared.errors import StoreUnavailable
from shared.models.lifecycle import Phase
from shared.models.workload import workload_id
from shared.operations import ledger_check
from shared.store import audit
from tests.functions.conftest import kubeconfig  # noqa: F401  # a fixture
from tests.support.builders import connection_of
from tests.support.running import SUBMITTED, RunningPlatform, binary, eventually, workload
from tests.support.small_disks import fill, small_disk

pytestmark = pytest.mark.xdist_group("r9")

MEBIBYTES = 192
COUNT = 30


@pytest.fixture
def disk() -> Iterator[Path]:
    with small_disk(MEBIBYTES) as directory:
        yield directory


def test_r9_a_full_disk_refuses_loses_nothing_and_recovers_by_itself(
    disk: Path,
    kubeconfig: Path,  # noqa: F811
) -> None:
    """PostgreSQL and the broker's log are on the disk; the cluster is not."""
    platform = RunningPlatform(disk / "state", ["--port", "0", "--kubeconfig", str(kubeconfig)])
    platform.start()
    try:
        platform.reaches(platform.submit("before", replicas=0), Phase.HEALTHY)
        ballast = disk / "ballast"
        fill(ballast)
        answers = {name: _post(platform, name) for name in (f"full-{number}" for number in range(COUNT))}
        refused = [name for name, status in answers.items() if status != 202]
        assert {answers[name] for name in refused} == {503}, answers
        ballast.unlink()
        for name in refused:
            eventually(partial(_post, platform, name), lambda status: status == 202)
        for name in answers:
            _is_healthy(platform, name)
    finally:
        platform.stop()


def _post(platform: RunningPlatform, name: str) -> int:
    number = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
    body = workload(name, replicas=0)
    return platform.post(binary(SUBMITTED, id=number), json.dumps(body).encode()).status


def _is_healthy(platform: RunningPlatform, name: str) -> None:
    found = workload_id("flows", "flows", name)

    def healthy() -> bool:
        try:
            platform.connect()
            seen = platform.find(found)
        except (SQLAlchemyError, StoreUnavailable, OSError):
            return False
        return seen is not None and seen.phase is Phase.HEALTHY

    eventually(healthy, bool)
    assert platform.read(lambda work: audit.verify(connection_of(work))) == []
    assert not platform.read(ledger_check.check)
