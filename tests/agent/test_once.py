"""`python -m agent --once`: what a node has, as a table and as JSON, and the exit code for scripts."""

import json
from pathlib import Path
from typing import Any

import pytest

import agent.__main__
from agent.__main__ import exit_code, main
from agent.table import as_table
from events.telemetry import TelemetryGpu
from shared.models.telemetry import GpuState, NodeState
from tests.support.gpus import gpu_reading, node_reading

GPU = {"gpu": "GPU-0", "index": 0, "product": "NVIDIA H100 80GB HBM3", "load": 0.8}


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "gpus.json"
    path.write_text(json.dumps({"driver": "580.95.05", "gpus": [GPU]}))
    monkeypatch.setenv("GPU_SCRIPT", str(path))
    monkeypatch.setenv("NODE_NAME", "gpu-0")
    monkeypatch.setattr(agent.__main__, "configure_logging", lambda: None)
    monkeypatch.setattr(agent.__main__, "ONCE_SECONDS", 0)
    return path


@pytest.mark.usefixtures("script")
def test_a_node_and_its_gpus_are_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--once"]) == 0
    node, gpu = (line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(("gpu-0", "0")))
    assert node[:3] == ["gpu-0", "ok", "580.95.05"]
    assert gpu[:9] == ["0", "GPU-0", "NVIDIA", "H100", "80GB", "HBM3", "ok", "80%", "58.4/80.0"]


@pytest.mark.usefixtures("script")
def test_json_is_the_data_of_the_event(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--once", "-o", "json"]) == 0
    assert [one.gpu for one in TelemetryGpu.model_validate_json(capsys.readouterr().out).gpus] == ["GPU-0"]


@pytest.mark.usefixtures("script")
def test_a_setting_that_cannot_be_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMPLE_INTERVAL", "often")
    assert main(["--once"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("the agent cannot start: SAMPLE_INTERVAL")
    assert said.err.count("\n") == 1


def test_an_output_is_for_once_alone() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["-o", "json"])
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 0),
        ({"state": NodeState.NO_GPU}, 3),
        ({"state": NodeState.DRIVER_MISSING}, 3),
        ({"state": NodeState.DRIVER_HUNG}, 4),
        ({"state": NodeState.DRIVER_CHANGED}, 4),
    ],
)
def test_the_exit_code_says_how_the_node_is(changes: dict[str, Any], code: int) -> None:
    assert exit_code(node_reading(gpu_reading(), **changes)) == code


def test_a_gpu_that_is_lost_has_an_exit_code_and_a_line_without_values() -> None:
    reading = node_reading(gpu_reading(0), gpu_reading(1, state=GpuState.LOST, metrics={}))
    assert exit_code(reading) == 4
    assert as_table(reading).splitlines()[-1].split()[-6:] == ["lost", "-", "-", "-", "-", "-"]
