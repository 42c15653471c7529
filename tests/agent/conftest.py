"""The NVML library of tests, and a source that reads it."""

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.nvml.source import NvmlSource
from tests.support.nvml import library
from tests.support.nvml.script import NvmlScript

DEADLINE = 5.0


@pytest.fixture(scope="session")
def compiled_nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if library.compiler() is None:
        pytest.skip("needs a C compiler (cc, gcc or clang) for the NVML library of tests")
    return library.compile_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(scope="session")
def loaded_nvml(compiled_nvml: Path) -> ctypes.CDLL:
    return library.load(compiled_nvml)


@pytest.fixture
def driver(loaded_nvml: ctypes.CDLL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NvmlScript]:
    """A driver with two GPUs."""
    path = tmp_path / "nvml.script"
    monkeypatch.setenv("NVML_SCRIPT", str(path))
    script = NvmlScript(path, loaded_nvml)
    yield script
    script.answers_everything()


@pytest.fixture
def source(driver: NvmlScript) -> Iterator[NvmlSource]:
    opened = NvmlSource(DEADLINE, DEADLINE)
    yield opened
    driver.answers_everything()
    opened.close()
