"""The memory of faults survives a restart of the agent; a file that is no good costs the memory, and nothing else."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from agent.faults import state_file
from agent.faults.monitor import MOST_UNCONFIRMED, FaultMonitor
from agent.readings import NodeReading, SeenXid
from shared.models.telemetry import GpuState, NodeState
from tests.agent.faults.simulation import START, gpu


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent" / "faults.json"


def unusable(operation: str) -> float:
    """How often the file could not be used so far."""
    name = "sentinel_agent_unusable_fault_memory_total"
    return REGISTRY.get_sample_value(name, {"operation": operation}) or 0.0


def reading(minute: float, *xids: int, node: str = "gpu-0", lost: bool = False) -> NodeReading:
    now = START + timedelta(minutes=minute)
    one = gpu(0, state=GpuState.LOST if lost else GpuState.OK)
    return NodeReading(
        "local", node, now, NodeState.OK, "580", {}, (one, gpu(1)), tuple(SeenXid("GPU-0", xid, now) for xid in xids)
    )


def test_fault_that_stands_is_not_raised_again_after_a_restart(path: Path) -> None:
    monitor = FaultMonitor(path)
    monitor.observe(reading(0))
    monitor.observe(reading(1, lost=True))
    (raised,) = monitor.observe(reading(2, lost=True))
    monitor.confirm()

    restarted = FaultMonitor(path)
    assert restarted.observe(reading(3, lost=True)) == ()
    restarted.observe(reading(4))
    for minute in range(5, 9):
        restarted.observe(reading(minute))
    (cleared,) = restarted.observe(reading(9))
    assert (cleared.fault, str(cleared.state)) == (raised.fault, "cleared")


def test_fault_that_was_not_confirmed_is_given_out_again_under_the_same_id(path: Path) -> None:
    found = FaultMonitor(path).observe(reading(0, 79))
    restarted = FaultMonitor(path)
    assert restarted.observe(reading(1)) == found
    assert restarted.observe(reading(2, 31))[:1] == found, "the oldest is first"
    restarted.confirm()
    assert restarted.observe(reading(3)) == ()
    assert FaultMonitor(path).observe(reading(4)) == ()


def test_condition_that_lasts_is_measured_across_a_restart(path: Path) -> None:
    def hot(minute: float) -> NodeReading:
        return replace(reading(minute), gpus=(gpu(0, {"throttle_reasons": 32.0}), gpu(1)))

    monitor = FaultMonitor(path)
    for minute in range(4):
        assert monitor.observe(hot(minute)) == ()
    monitor.close()
    restarted = FaultMonitor(path)
    assert restarted.observe(hot(4)) == ()
    assert len(restarted.observe(hot(5))) == 1


def test_memory_is_written_when_a_fault_changes_and_once_a_minute(path: Path) -> None:
    monitor = FaultMonitor(path)
    monitor.observe(reading(0))
    first = path.stat().st_ino
    monitor.observe(reading(0.5))
    assert path.stat().st_ino == first
    monitor.observe(reading(0.6, 31))
    second = path.stat().st_ino
    assert second != first
    monitor.confirm()
    monitor.observe(reading(1))
    monitor.observe(reading(1.7))
    assert json.loads(path.read_bytes())["memory"]["observedAt"] == "2026-01-01T00:01:42+00:00"


@pytest.mark.parametrize(
    "damage",
    [
        lambda good: b"",
        lambda good: b"\x00\xff\xfe",
        lambda good: good[: len(good) // 2],
        lambda good: b"[]",
        lambda good: b'"x"',
        lambda good: b"[" * 100_000,
        lambda good: good.replace(b'"version":1', b'"version":2'),
        lambda good: good.replace(b'"xid"', b'"strange"'),
        lambda good: good.replace(b'"quiet":0.0', b'"quiet":NaN'),
        lambda good: good.replace(b'+00:00"', b'"'),
        lambda good: good.replace(b'"standing":[[', b'"standing":[[1,2,3,4,'),
        lambda good: good.replace(b'"gpus":{', b'"gpus":{"GPU-9":null,'),
    ],
)
def test_file_that_cannot_be_read_begins_anew_and_is_counted(path: Path, damage: Callable[[bytes], bytes]) -> None:
    FaultMonitor(path).observe(reading(0, 79))
    good = path.read_bytes()
    assert damage(good) != good
    path.write_bytes(damage(good))
    before = unusable("read")
    monitor = FaultMonitor(path)
    assert unusable("read") == before + 1
    assert len(monitor.observe(reading(1, 79))) == 1
    monitor.confirm()
    assert FaultMonitor(path).observe(reading(2, 79)) == (), "it was written anew"


def test_file_that_is_a_directory_or_too_large_begins_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.mkdir(parents=True)
    reads, writes = unusable("read"), unusable("write")
    monitor = FaultMonitor(path)
    assert len(monitor.observe(reading(0, 79))) == 1
    assert (unusable("read"), unusable("write")) == (reads + 1, writes + 1)
    path.rmdir()
    monkeypatch.setattr(state_file, "_LARGEST", 100)
    monitor.confirm()
    assert path.stat().st_size > 100
    FaultMonitor(path)
    assert unusable("read") == reads + 2


def test_disk_that_cannot_be_written_costs_the_memory_and_no_fault(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    before = unusable("write")
    monitor = FaultMonitor(blocked / "faults.json")
    assert len(monitor.observe(reading(0, 79))) == 1
    monitor.confirm()
    assert monitor.observe(reading(0.1, 79)) == ()
    assert unusable("write") == before + 2
    monitor.observe(reading(0.5))
    assert unusable("write") == before + 2, "it is tried again once a minute"
    monitor.observe(reading(2))
    assert unusable("write") == before + 3


def test_memory_of_another_node_is_not_taken(path: Path) -> None:
    monitor = FaultMonitor(path)
    monitor.observe(reading(0, 79))
    monitor.confirm()
    assert len(FaultMonitor(path).observe(reading(1, 79, node="gpu-1"))) == 1


def test_faults_that_nobody_confirms_are_bounded_and_counted() -> None:
    monitor = FaultMonitor()
    unknown = range(1_000, 1_000 + MOST_UNCONFIRMED + 5)
    found = monitor.observe(reading(0, *unknown))
    assert [fault.xid for fault in found] == list(unknown[5:])
    assert REGISTRY.get_sample_value("sentinel_agent_dropped_faults_total") == 5
