"""Every test here is marked `faults`: it breaks things on purpose, with real processes, and takes its time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from knative.local.runtime.scratch import scratch_directory
from tests.faults.histories import QUOTA
from tests.faults.testbed import CLUSTERS, Testbed
from tests.support.running import eventually

HERE = Path(__file__).parent


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    return True if "not faults" in config.option.markexpr else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture(scope="session")
def nightly() -> bool:
    """Whether tests run at the sizes that are promised, and not at those of continuous integration."""
    size = os.environ.get("SENTINEL_FAULTS_SIZE", "ci")
    assert size in ("ci", "nightly"), f"SENTINEL_FAULTS_SIZE is {size!r}; it must be ci or nightly"
    return size == "nightly"


@pytest.fixture(scope="session")
def seed() -> int:
    """Where random histories and orders begin."""
    return int(os.environ.get("SENTINEL_FAULTS_SEED", "1"))


@pytest.fixture(scope="session")
def testbed() -> Iterator[Testbed]:
    """One for all tests that leave it whole, with every function started. Every commit of its database is checked."""
    with scratch_directory("faults") as directory:
        started = Testbed(directory, [QUOTA])
        try:
            names = [f"first-{cluster}" for cluster in CLUSTERS]
            for name, cluster in zip(names, CLUSTERS, strict=True):
                started.submit(name, cluster)
            eventually(lambda: started.exactly_once(names), lambda wrong: not wrong)
            yield started
        finally:
            started.close()
