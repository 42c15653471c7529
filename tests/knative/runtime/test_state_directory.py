from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from knative.local.runtime.state_directory import InUse, PlatformAddress, StateDirectory, listen


def test_a_state_directory_is_held_by_one(tmp_path: Path) -> None:
    first = StateDirectory(tmp_path / "state")
    with pytest.raises(InUse, match=rf"in use by a running platform \(pid {os.getpid()}\).*another STATE"):
        StateDirectory(tmp_path / "state")
    first.release()
    StateDirectory(tmp_path / "state").release()


def test_a_state_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InUse, match="cannot be used as the state directory"):
        StateDirectory(tmp_path / "file" / "state")


def test_a_part_of_the_state_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    (tmp_path / "postgres").touch()
    with pytest.raises(InUse, match="postgres cannot be used as a directory of the state: File exists; choose"):
        state.directory("postgres")
    state.release()


def test_what_is_published_is_for_the_owner_only_and_withdrawn(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    published = PlatformAddress(1, "http://localhost:1/sentinel/default", "postgresql://", "/kubeconfig", 1)
    state.publish(published)
    file = tmp_path / "platform.json"
    assert json.loads(file.read_text())["broker"] == published.broker
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    state.release()
    assert not file.exists()


def test_a_taken_port_is_said() -> None:
    first = listen(0)
    with first, pytest.raises(InUse, match=r"port \d+ is taken by another program; choose another PORT"):
        listen(first.getsockname()[1])


@pytest.mark.parametrize("port", [70_000, -1])
def test_a_port_that_does_not_exist_is_said(port: int) -> None:
    with pytest.raises(InUse, match=f"port {port} cannot be used"):
        listen(port)
