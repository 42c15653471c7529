"""What is installed: our top-level packages are ours alone, and what a function imports is declared."""

import importlib
import importlib.metadata
import sys
from pathlib import Path

import pytest

OURS = {"functions", "events", "shared", "agent", "knative"}


def test_no_dependency_ships_a_package_under_one_of_our_names() -> None:
    shipped = importlib.metadata.packages_distributions()
    assert {name: shipped[name] for name in OURS & shipped.keys() if set(shipped[name]) != {"sentinel"}} == {}


@pytest.mark.parametrize("name", ["functions", "events", "shared", "knative"])
def test_our_packages_are_those_of_the_checkout(name: str) -> None:
    package = importlib.import_module(name)
    assert Path(str(package.__file__)).parent.parent == Path(__file__).parents[1]


@pytest.mark.parametrize(
    "data",
    [
        "shared/models/gpus.csv",
        "shared/models/mig_profiles.csv",
        "shared/rollout/prices.csv",
        "shared/store/migrations/env.py",
        "shared/store/migrations/script.py.mako",
    ],
)
def test_files_that_the_code_reads_lie_inside_packages(data: str) -> None:
    file = Path(__file__).parents[1] / data
    assert file.is_file()
    assert file.parent.parent.joinpath("__init__.py").is_file()


def test_the_python_that_runs_is_one_that_is_supported() -> None:
    metadata = importlib.metadata.metadata("sentinel")
    assert metadata["Requires-Python"] == ">=3.11"
    assert sys.version_info >= (3, 11)
