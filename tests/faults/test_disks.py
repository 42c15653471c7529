"""R9: a full disk gives 503, no partial state, and recovery by itself."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy.exc import SQLAlchemyError

from knative.local.runtime.scratch import scratch_directory
from shared.errors import StoreUnavailable
from shared.models.lifecycle import Phase
from shared.models.workload import workload_id
from shared.operations import ledger_check
from shared.store import audit
from tests.functions.conftest import kubeconfig  # noqa: F401  # a fixture
from tests.support.builders import connection_of
from tests.support.running import SUBMITTED, RunningPlatform, binary, eventually, workload

pytestmark = pytest.mark.xdist_group("r9")

MEBIBYTES = 192
COUNT = 30


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A directory on a disk of its own, a tmpfs."""
    with scratch_directory("disk") as directory:
        command = ["mount", "-t", "tmpfs", "-o", f"size={MEBIBYTES}m,mode=755", "tmpfs", str(directory)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("only root can mount the tmpfs that is to be full")
        try:
            yield directory
        finally:
            subprocess.run(["umount", "--lazy", str(directory)], check=True)


def test_r9_a_full_disk_refuses_loses_nothing_and_recovers_by_itself(
    small_disk: Path,
    kubeconfig: Path,  # noqa: F811
) -> None:
    """PostgreSQL and the broker's log are on the disk; the cluster is not."""
    platform = RunningPlatform(small_disk / "state", ["--port", "0", "--kubeconfig", str(kubeconfig)])
    platform.start()
    try:
        platform.reaches(platform.submit("before", replicas=0), Phase.HEALTHY)
        ballast = small_disk / "ballast"
        _fill(ballast)
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


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(65536)):
            pass
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(512)):
            pass


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
