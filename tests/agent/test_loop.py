"""The turns of the agent: when they are, what each one reads, and what follows from a reading."""

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from agent.bounds import UNBELIEVED
from agent.counters import CounterSpec, exposition
from agent.events import FAULT, TELEMETRY
from agent.faults.monitor import FaultMonitor
from agent.loop import FAILED, MISSED, Loop, Sampler
from agent.readings import GpuPart, GpuReading, NodeReading, SeenXid
from shared.eventing.event import WireEvent
from shared.models.telemetry import Container, NodeState
from tests.support.gpus import gpu_reading

NOW = datetime(2026, 1, 1, 0, 0, 0, 123_456, tzinfo=UTC)
INTERVAL = timedelta(seconds=10)
XID = SeenXid("GPU-0", 79, NOW)


@dataclass
class Sources:
    """A node as a test wants it; `reads` is called at each reading of the GPUs."""

    gpus: tuple[GpuReading, ...] = ()
    xids: tuple[SeenXid, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    held: Mapping[str, tuple[Container, ...]] = field(default_factory=dict)
    reads: Callable[[], None] = lambda: None

    def read_gpus(self, now: datetime) -> GpuPart:
        self.reads()
        return GpuPart(NodeState.OK if self.gpus else NodeState.NO_GPU, "580.95.05", self.gpus, self.xids)

    def sampler(self) -> Sampler:
        return Sampler("local", "gpu-0", _Gpus(self), _Host(self), _Containers(self))


@dataclass
class _Gpus:
    sources: Sources

    def read(self, now: datetime) -> GpuPart:
        return self.sources.read_gpus(now)

    def close(self) -> None:
        raise AssertionError("the loop does not close what it was given")


@dataclass
class _Host:
    sources: Sources

    def read(self) -> Mapping[str, float]:
        return self.sources.metrics


@dataclass
class _Containers:
    sources: Sources

    def containers(self, gpus: Sequence[GpuReading]) -> Mapping[str, tuple[Container, ...]]:
        return self.sources.held

    def close(self) -> None:
        """Nothing."""


@dataclass
class Outlets:
    """What was shown and published."""

    shown: list[NodeReading] = field(default_factory=list)
    published: list[WireEvent] = field(default_factory=list)
    durable: list[bool] = field(default_factory=list)

    def show(self, reading: NodeReading) -> None:
        self.shown.append(reading)

    def publish(self, event: WireEvent, *, durable: bool = True) -> None:
        self.published.append(event)
        self.durable.append(durable)

    @property
    def types(self) -> Sequence[str]:
        return [event.attributes["type"] for event in self.published]


class Time(threading.Event):
    """A clock, and the event that stops the loop: waiting for it lets time pass. It is set after some turns."""

    def __init__(self, turns: int, took: Sequence[float] = ()) -> None:
        super().__init__()
        self.seconds = 100.0
        self.turns = turns
        self.at: list[float] = []
        self._took = itertools.chain(took, itertools.repeat(0.0))

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.seconds += timeout
        return len(self.at) >= self.turns

    def turn(self) -> None:
        self.at.append(self.seconds - 100)
        self.seconds += next(self._took)


def run(sources: Sources, time: Time, outlets: Outlets | None = None) -> Outlets:
    outlets = outlets or Outlets()
    sources.reads = time.turn
    loop = Loop(
        sources.sampler(),
        outlets,
        FaultMonitor(),
        outlets,
        INTERVAL,
        clock=lambda: time.seconds,
        now=lambda: NOW + timedelta(seconds=time.seconds),
        draw=lambda: 0.37,
    )
    loop.run(time)
    return outlets


def counted(spec: CounterSpec, labels: str = "") -> float:
    name = f"{spec.name}_total{labels} "
    lines = exposition()[0].decode().splitlines()
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


def test_the_first_turn_is_at_once_and_the_others_keep_a_phase_of_their_own() -> None:
    time = Time(4, took=(0.5, 9.9, 0.1))
    run(Sources(), time)
    assert time.at == pytest.approx([0, 3.7, 13.7, 23.7])


def test_turns_that_a_long_one_left_no_time_for_are_missed_and_counted() -> None:
    time = Time(5, took=(0, 0, 25))
    before = counted(MISSED)
    run(Sources(), time)
    assert time.at == pytest.approx([0, 3.7, 13.7, 38.7, 43.7])
    assert counted(MISSED) == before + 1


def test_a_reading_joins_gpus_containers_and_the_node() -> None:
    held = {"GPU-1": (Container("search", "web", "main"),)}
    sources = Sources((gpu_reading(0), gpu_reading(1)), metrics={"load1": 2.0}, held=held)
    reading = sources.sampler().read(NOW)
    assert (reading.cluster, reading.node, reading.driver) == ("local", "gpu-0", "580.95.05")
    assert reading.observed_at == NOW.replace(microsecond=123_000)
    assert reading.metrics == {"load1": 2.0}
    assert [gpu.containers for gpu in reading.gpus] == [(), held["GPU-1"]]


def test_what_is_no_measurement_is_left_out_and_counted() -> None:
    good = {"power_watts": 400.0, "utilization_percent": 0}
    bad = {"temperature_celsius": float("nan"), "memory_used_bytes": 1e30, "energy_joules_total": -1.0, "mood": 1.0}
    before = counted(UNBELIEVED, '{field="memory_used_bytes"}')
    reading = Sources((gpu_reading(metrics=good | bad),), metrics={"load1": float("inf")}).sampler().read(NOW)
    assert (reading.gpus[0].metrics, reading.metrics) == (good, {})
    assert counted(UNBELIEVED, '{field="memory_used_bytes"}') == before + 1


def test_a_reading_is_shown_and_published_with_its_faults() -> None:
    outlets = run(Sources((gpu_reading(),), (XID,)), Time(1))
    assert [reading.node for reading in outlets.shown] == ["gpu-0"]
    assert outlets.types == [TELEMETRY, FAULT]
    assert outlets.durable == [False, True]  # a reading may be lost with the agent, a fault may not


def test_a_turn_that_fails_is_counted_and_the_next_one_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Outlets):
        def show(self, reading: NodeReading) -> None:
            super().show(reading)
            if len(self.shown) == 1:
                raise RuntimeError("a defect")

    before = counted(FAILED)
    outlets = run(Sources(), Time(2), Failing())
    assert outlets.types == [TELEMETRY]
    assert counted(FAILED) == before + 1
    assert "a defect" in caplog.text


def test_without_a_publisher_readings_are_shown_alone() -> None:
    outlets, stop = Outlets(), Time(1)
    sources = Sources((gpu_reading(),), (XID,), reads=stop.turn)
    Loop(sources.sampler(), outlets, FaultMonitor(), None, INTERVAL, clock=lambda: stop.seconds).run(stop)
    assert (len(outlets.shown), outlets.published) == (1, [])
