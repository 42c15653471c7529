"""What the user gives to make reaches the programs as it was typed."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATHS = ["a b 100%2Fdone $HOME/$(x) q'u\"o`t\\e Zürich 東京 #;&|*?", "-dash", "deep/" * 100]
# As the tests may have been started by make, with some of them given.
GIVEN = ("MAKEFLAGS", "MAKELEVEL", "PORT", "STATE", "TRACE", "NODES", "LIMIT", "SPEED", "KEEP", "KUBECONFIG")

Make = Callable[..., list[str]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Runs a target with a Python that prints its arguments and KUBECONFIG; what it printed."""
    bin_directory = tmp_path / "bin"
    bin_directory.mkdir()
    program = bin_directory / "python"
    code = "import json, os, sys; print(json.dumps([*sys.argv[1:], os.environ.get('KUBECONFIG')]))"
    # By way of the shell: the path of an interpreter in the first line of a script cannot hold a space.
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(code)} "$@"\n')
    program.chmod(0o755)
    ready = tmp_path / "ready"
    ready.touch()

    def run(target: str, *given: str, environment: Mapping[str, str] | None = None) -> list[str]:
        clean = {name: value for name, value in os.environ.items() if name not in GIVEN}
        done = subprocess.run(
            ["make", "--no-print-directory", target, f"BIN={bin_directory}", f"READY={ready}", *given],
            cwd=ROOT,
            env=clean | dict(environment or {}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        printed: list[str] = json.loads(done.stdout.splitlines()[-1])
        return printed

    return run


@pytest.mark.parametrize("path", PATHS)
def test_a_state_directory_may_have_any_path(path: str, make: Make) -> None:
    arguments = ["-m", "knative.local", "--port=0", f"--state={path}"]
    assert make("run", f"STATE={path}", "PORT=0")[:-1] == arguments
    assert make("run", environment={"STATE": path, "PORT": "0"})[:-1] == arguments


@pytest.mark.parametrize("path", PATHS)
def test_a_kubeconfig_may_have_any_path_and_is_taken_from_the_command_line_alone(path: str, make: Make) -> None:
    for target in ("run", "demo"):
        assert make(target, f"KUBECONFIG={path}")[-2] == f"--kubeconfig={path}"
        assert not [each for each in make(target, environment={"KUBECONFIG": path})[:-1] if "kubeconfig" in each]
    assert make("test-cluster", f"KUBECONFIG={path}")[-1] == path
    assert make("test-cluster", environment={"KUBECONFIG": path})[-1] == path


@pytest.mark.parametrize("path", PATHS)
def test_a_trace_and_its_nodes_may_have_any_path(path: str, make: Make) -> None:
    replay = ["-m", "knative.local.tools.replay"]
    assert make("replay", f"TRACE={path}")[:-1] == [*replay, "--", path]
    given = ("LIMIT=5", "SPEED=2.5", "KEEP=1")
    options = [f"--nodes={path}", "--limit=5", "--speed=2.5", "--keep"]
    assert make("replay", f"TRACE={path}", f"NODES={path}", *given)[:-1] == [*replay, *options, "--", path]


def test_defaults_are_used_where_nothing_is_given(make: Make) -> None:
    assert make("run")[:-1] == ["-m", "knative.local", "--port=8080", "--state=.sentinel"]
