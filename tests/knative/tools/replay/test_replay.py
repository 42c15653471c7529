"""Replays of a small trace on a platform of their own, as a user starts them."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import unmeasured

PODS = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time"
NODES = "sn,cpu_milli,memory_mib,gpu,model"


def write_pods(path: Path, count: int, gpus: int) -> Path:
    """Pods with shares of GPUs, whole GPUs, models to choose from, and none at all."""
    dice = random.Random(7)
    kinds = [f"{gpus},1000,", f"1,{dice.randrange(100, 1000)},", "1,1000,T4|G2", "0,0,"]
    rows = [
        f"pod-{n},{1000 + n},1024,{kinds[n % 4]},{'LS' if n % 2 else 'BE'},Running,{n},{n + 5},{n}"
        for n in range(count)
    ]
    path.write_text("\n".join([PODS, *rows]) + "\n")
    return path


def write_nodes(path: Path, *models: tuple[str, int]) -> Path:
    rows = [f"node-{n},64000,262144,{gpus},{model}" for n, (model, gpus) in enumerate(models)]
    path.write_text("\n".join([NODES, *rows]) + "\n")
    return path


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "knative.local.tools.replay", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=unmeasured(),
        start_new_session=True,
    )


def figures(said: str) -> dict[str, str]:
    return {m[1]: m[2] for m in re.finditer(r"^([A-Za-z][A-Za-z0-9 ]*?) {2,}([\d,.]+)\b", said, re.MULTILINE)}


@pytest.mark.slow
def test_every_workload_is_placed_removed_and_leaves_nothing(tmp_path: Path) -> None:
    pods, nodes = write_pods(tmp_path / "pods.csv", 24, gpus=4), write_nodes(tmp_path / "nodes.csv", *[("G2", 8)] * 4)
    process = start(pods, "--nodes", nodes)
    said, _ = process.communicate(timeout=180)
    assert process.returncode == 0, said
    assert "Replaying 24 workloads on 4 nodes: about" in said
    found = figures(said)
    assert [found[k] for k in ("submitted", "approved", "denied", "placed", "removed")] == ["24", "24", "0", "24", "24"]
    assert found["GPUs reserved"] == "0"
    assert float(found["peak memory"].replace(",", "")) > 100
    assert "nothing is lost and nothing is stuck" in said


@pytest.mark.slow
def test_what_does_not_fit_when_all_is_kept_is_said_to_be_not_placeable(tmp_path: Path) -> None:
    """Two GPUs, three pods that want one each and one that wants none."""
    pods, nodes = write_pods(tmp_path / "pods.csv", 4, gpus=1), write_nodes(tmp_path / "nodes.csv", ("G2", 2))
    process = start(pods, "--nodes", nodes, "--keep")
    said, _ = process.communicate(timeout=180)
    assert process.returncode == 0, said
    found = figures(said)
    assert [found[k] for k in ("placed", "not placeable", "removed")] == ["3", "1", "0"]


@pytest.mark.slow
def test_ctrl_c_ends_with_the_figures_so_far(tmp_path: Path) -> None:
    """The trace is so slow that most of it is still to come."""
    process = start(write_pods(tmp_path / "pods.csv", 40, gpus=1), "--speed", "0.1")
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "Replaying 40 workloads on the default nodes: about 7 minutes\n"
        assert process.stdout.readline().startswith("The platform is up. Ctrl-C ends the replay")
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
    assert process.returncode == 130
    assert figures(said)["submitted"] in ("0", "1")
    assert "of 40" in said
    assert "Interrupted; these are the figures so far." in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["missing.csv"], 1, "sentinel: missing.csv: cannot be read: No such file or directory"),
        (["bad.csv"], 1, "sentinel: bad.csv, line 1: there is no column name"),
        (["pods.csv", "--limit", "0"], 2, "argument --limit: invalid positive int value: '0'"),
        (["pods.csv", "--speed", "nan"], 2, "argument --speed: invalid positive float value: 'nan'"),
    ],
)
def test_bad_arguments_are_one_clear_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    from knative.local.tools.replay.__main__ import main

    monkeypatch.chdir(tmp_path)
    write_pods(tmp_path / "pods.csv", 1, gpus=1)
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    try:
        returned: object = main(arguments)
    except SystemExit as exit_:
        returned = exit_.code
    assert returned == status
    assert message in capsys.readouterr().err
