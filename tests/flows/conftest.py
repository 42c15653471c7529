"""A platform for the flows of a module that need not stop it, and one for all that do.

A platform works as long as it runs: it ends with the tests that need it, and not with the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from knative.local.runtime.scratch import scratch_directory
from tests.support import databases
from tests.support.running import RunningPlatform, running


@pytest.fixture(scope="module")
def platform(migrated_data: Path) -> Iterator[RunningPlatform]:
    """Tests use workloads of their own."""
    with scratch_directory("flows") as directory:
        databases.copy(migrated_data, directory / "state" / "postgres")
        with running(directory / "state") as started:
            yield started


@pytest.fixture(scope="session")
def restartable(migrated_data: Path) -> Iterator[RunningPlatform]:
    """A platform that tests may kill; each leaves it running."""
    with scratch_directory("restarts") as directory:
        databases.copy(migrated_data, directory / "state" / "postgres")
        with running(directory / "state") as started:
            yield started
