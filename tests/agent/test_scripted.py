"""GPUs from a document: loads over time, XIDs once, and errors that name the field."""

import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import agent.scripted
from agent.readings import SeenXid
from agent.scripted import ScriptedGpus
from shared.errors import ConfigurationError
from shared.models.telemetry import Container, GpuState, NodeState
from shared.telemetry.fields import GPU_FIELDS

START = datetime(2026, 1, 1, tzinfo=UTC)
GPU = {"gpu": "GPU-0", "index": 0, "product": "NVIDIA H100 80GB HBM3"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gpus.yaml"


def source(path: Path, **document: Any) -> ScriptedGpus:
    path.write_text(json.dumps(document))
    return ScriptedGpus(path, START)


def rewrite(path: Path, text: str) -> None:
    """As the laptop platform does: another file takes its place."""
    scratch = path.with_suffix(".new")
    scratch.write_text(text)
    scratch.replace(path)


def test_the_example_of_the_module_is_a_document(path: Path) -> None:
    text = (agent.scripted.__doc__ or "").partition("Example:\n")[2].partition("\n`at`")[0]
    path.write_text(text)
    gpus = ScriptedGpus(path, START)
    part = gpus.read(START)
    assert (part.state, part.driver) == (NodeState.OK, "580.95.05")
    assert [(one.index, one.parent is None, one.profile, one.instance) for one in part.gpus] == [
        (0, True, None, None),
        (1, True, None, None),
        (1, False, "1g.10gb", 7),
    ]
    assert gpus.containers(part.gpus)[part.gpus[0].gpu] == (Container("search", "chat-7d9f6c8b5-x2x7k", "main"),)
    for one in part.gpus:
        for name, value in one.metrics.items():
            GPU_FIELDS[name].check(value)


def test_load_changes_at_its_times_and_the_metrics_with_it(path: Path) -> None:
    gpus = source(path, gpus=[{**GPU, "loads": [{"at": "5m", "load": 0.25}, {"at": "30s", "load": 1}]}])
    found = [gpus.read(START + timedelta(seconds=at)).gpus[0].metrics for at in (0, 30, 299, 300)]
    assert [one["utilization_percent"] for one in found] == [0, 100, 100, 25]
    assert found[0]["power_watts"] < found[3]["power_watts"] < found[1]["power_watts"]


def test_a_mig_instance_has_a_utilization_where_it_has_a_load(path: Path) -> None:
    instance = {**GPU, "parent": "GPU-0", "profile": "1g.10gb", "metrics": {"memory_used_bytes": 1}}
    gpus = source(path, gpus=[GPU, {**instance, "gpu": "MIG-1", "load": 0.5}, {**instance, "gpu": "MIG-2"}])
    _, loaded, other = gpus.read(START).gpus
    utilization = {"utilization_percent": 50, "memory_utilization_percent": 30}
    assert (loaded.metrics, other.metrics) == ({"memory_used_bytes": 1, **utilization}, {"memory_used_bytes": 1})


def test_a_metric_that_is_given_counts(path: Path) -> None:
    gpus = source(path, gpus=[{**GPU, "load": 0.5, "metrics": {"power_watts": 12, "nvlinks_active": 18}}])
    metrics = gpus.read(START).gpus[0].metrics
    assert (metrics["power_watts"], metrics["nvlinks_active"], metrics["utilization_percent"]) == (12, 18, 50)


def test_an_xid_is_seen_once_at_its_time(path: Path) -> None:
    gpus = source(path, gpus=[GPU], xids=[{"gpu": "GPU-0", "xid": 79, "at": "30s"}])
    seen = [gpus.read(START + timedelta(seconds=at)) for at in (29, 40, 50)]
    assert [one.xids for one in seen] == [(), (SeenXid("GPU-0", 79, START + timedelta(seconds=30)),), ()]
    assert [one.gpus[0].metrics["last_xid"] for one in seen] == [0, 79, 79]


def test_an_xid_that_is_written_down_late_is_seen_and_one_before_the_start_is_not(path: Path) -> None:
    before = {"gpu": "GPU-0", "xid": 31, "at": "2025-12-31T23:59:59Z"}
    gpus = source(path, gpus=[GPU], xids=[before])
    assert gpus.read(START).xids == ()
    late = {"gpu": "GPU-0", "xid": 79, "at": "2026-01-01T00:00:01Z"}
    rewrite(path, json.dumps({"gpus": [GPU], "xids": [before, late]}))
    later = START + timedelta(seconds=10)
    assert [one.xid for one in gpus.read(later).xids] == [79]
    assert gpus.read(later).xids == ()


def test_a_change_of_the_file_is_followed(path: Path) -> None:
    gpus = source(path, gpus=[GPU])
    rewrite(path, json.dumps({"gpus": [{**GPU, "state": "lost"}]}))
    lost = gpus.read(START).gpus[0]
    assert (lost.state, lost.metrics) == (GpuState.LOST, {})
    rewrite(path, json.dumps({"state": "driver_hung", "driver": "580"}))
    assert gpus.read(START).state is NodeState.DRIVER_HUNG
    rewrite(path, "{}")
    assert gpus.read(START).state is NodeState.NO_GPU


def test_a_bad_change_is_logged_once_and_the_document_before_stays(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gpus = source(path, gpus=[GPU])
    rewrite(path, "gpus: 3")
    for _ in range(3):
        assert len(gpus.read(START).gpus) == 1
    path.unlink()
    assert len(gpus.read(START).gpus) == 1
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.ERROR]
    assert "gpus: " in caplog.text


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("[]", "must be an object"),
        ("gpus: [", "is not YAML"),
        ("gpu: []", "gpu: Extra inputs"),
        ({"gpus": [{**GPU, "load": 1.5}]}, "gpus.0.load: "),
        ({"gpus": [{**GPU, "load": "0.5"}]}, "gpus.0.load: "),
        ({"gpus": [{**GPU, "loads": [{"at": "soon", "load": 1}]}]}, "gpus.0.loads.0.at: 'soon' is not a duration"),
        ({"gpus": [{**GPU, "metrics": {"utilisation": 1}}]}, "gpus.0.metrics: 'utilisation' is not a field"),
        ({"gpus": [{**GPU, "metrics": {"power_watts": -1}}]}, "gpus.0.metrics: power_watts: -1 must be between"),
        ({"gpus": [{**GPU, "state": "broken"}]}, "gpus.0.state: "),
        ({"gpus": [GPU, GPU]}, "gpus: a GPU is there twice"),
        ({"gpus": [GPU, {**GPU, "gpu": "GPU-1"}]}, "gpus: two GPUs have the same index"),
        ({"gpus": [GPU, {**GPU, "gpu": "MIG-1", "parent": "GPU-9"}]}, "gpus.1.parent: "),
        ({"xids": [{"gpu": "GPU-9", "xid": 79, "at": "0s"}]}, "xids.0.gpu: "),
        ({"xids": [{"xid": 79, "at": "2026-01-01T00:00:00"}]}, "xids.0.at: must have a time zone"),
        ({"xids": [{"xid": "79", "at": "0s"}]}, "xids.0.xid: "),
    ],
)
def test_a_document_that_cannot_be_is_refused_with_the_field(path: Path, document: Any, said: str) -> None:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    with pytest.raises(ConfigurationError) as refused:
        ScriptedGpus(path, START)
    assert str(refused.value).startswith(f"GPU_SCRIPT {path}: {said}")


def test_a_file_that_is_not_there_is_refused(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        ScriptedGpus(path, START)
