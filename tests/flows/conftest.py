"""One platform for all flows that need not stop it, and one for those that do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from knative.local.runtime.scratch import scratch_directory
from tests.support import databases
from tests.support.running import RunningPlatform, running


@pytest.fixture(scope="session")
def platform() -> Iterator[RunningPlatform]:
    """Started once; tests use workloads of their own."""
    with scratch_directory("flows") as directory, running(directory / "state") as started:
        yield started


@pytest.fixture(scope="session")
def restartable(migrated_data: Path) -> Iterator[RunningPlatform]:
    """A platform that tests may kill; each leaves it running."""
    with scratch_directory("restarts") as directory:
        databases.copy(migrated_data, directory / "state" / "postgres")
        with running(directory / "state") as started:
            yield started
