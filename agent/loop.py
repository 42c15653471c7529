"""The agent's loop: read, show, find faults, publish.

Each interval has one turn, on a monotonic clock. The first turn is at once, so that the agent is ready soon. The second
follows after a random part of the interval and sets the phase: agents that start together do not measure and send
together. A turn that takes longer than the interval leaves turns out, and those are counted.

    interval 10 s, phase 3.7 s, the third turn takes 25 s:    0   3.7   13.7   [23.7 is missed]   38.7 for 33.7   43.7

A turn that fails because of a defect is logged and counted, and the next one is tried. While every turn fails, the last
reading becomes overdue, and the kubelet starts the agent again (agent/exporter.py).
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from agent import counters, events
from agent.bounds import GPU_BOUNDS, NODE_BOUNDS
from agent.counters import CounterSpec
from agent.faults.fault import Fault
from agent.readings import ContainerSource, GpuReading, GpuSource, NodeReading, NodeSource
from shared.eventing.event import WireEvent
from shared.models.telemetry import Container

READINGS = CounterSpec("sentinel_agent_readings", "Readings of the node, by its state.", ("state",))
FAILED = CounterSpec("sentinel_agent_failed_readings", "Readings that a defect of the agent prevented.", ())
MISSED = CounterSpec("sentinel_agent_missed_readings", "Readings that were left out: the one before took too long.", ())

logger = logging.getLogger("sentinel.agent")


class Display(Protocol):
    """Shows the latest reading; Exporter is one."""

    def show(self, reading: NodeReading) -> None:
        """Takes the place of the reading before."""


class Detector(Protocol):
    """Finds faults; FaultMonitor is one."""

    def observe(self, reading: NodeReading) -> Sequence[Fault]:
        """The faults that the reading raises and clears, and those before that were not confirmed."""

    def confirm(self) -> None:
        """The faults that were given out last are safe with the publisher."""


class EventQueue(Protocol):
    """Takes events and delivers them later; SpoolingPublisher is one."""

    def publish(self, event: WireEvent, *, durable: bool = True) -> None:
        """Waits for no sink, and raises nothing. durable: whether the event must survive the agent from now on."""


class Sampler:
    """Reads the whole node: GPUs, the node itself, and which container has which GPU."""

    def __init__(self, cluster: str, node: str, gpus: GpuSource, host: NodeSource, containers: ContainerSource) -> None:
        self._cluster = cluster
        self._node = node
        self._gpus = gpus
        self._host = host
        self._containers = containers

    def read(self, now: datetime) -> NodeReading:
        """The reading of this moment. What is no measurement is left out: no known field, NaN, out of bounds."""
        part = self._gpus.read(now)
        containers = self._containers.containers(part.gpus) if part.gpus else {}
        return NodeReading(
            self._cluster,
            self._node,
            now.replace(microsecond=now.microsecond // 1000 * 1000),
            part.state,
            part.driver,
            NODE_BOUNDS.believed(self._host.read()),
            tuple(_with_containers(gpu, containers.get(gpu.gpu, gpu.containers)) for gpu in part.gpus),
            part.xids,
        )


class Loop:
    """Turns, one an interval. publisher: None where the agent serves metrics alone.

    clock: seconds, monotonic. now: the node's clock, UTC. draw: a random number from 0 up to 1, for the phase.
    """

    def __init__(
        self,
        sampler: Sampler,
        display: Display,
        detector: Detector,
        publisher: EventQueue | None,
        interval: timedelta,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._sampler = sampler
        self._display = display
        self._detector = detector
        self._publisher = publisher
        self._interval = interval.total_seconds()
        self._clock = clock
        self._now = now
        self._draw = draw

    def run(self, stop: threading.Event) -> None:
        """Turns until `stop` is set; one that has begun is finished."""
        due = self._clock()
        following = due + self._draw() * self._interval
        while not stop.wait(max(due - self._clock(), 0)):
            self.turn()
            due, following = following, following + self._interval
            if (late := self._clock() - due) >= self._interval:
                missed = int(late // self._interval)
                counters.count(MISSED, missed)
                due += missed * self._interval
                following = due + self._interval

    def turn(self) -> None:
        """One reading, and what follows from it."""
        try:
            reading = self._sampler.read(self._now())
            self._display.show(reading)
            faults = self._detector.observe(reading)
            if self._publisher is not None:
                self._publisher.publish(events.telemetry_event(reading), durable=False)
                for fault in faults:
                    self._publisher.publish(events.fault_event(fault))
            self._detector.confirm()
        except Exception:
            counters.count(FAILED)
            logger.exception("a reading failed")
        else:
            counters.count(READINGS, state=reading.state)


def _with_containers(gpu: GpuReading, containers: tuple[Container, ...]) -> GpuReading:
    return gpu.having(GPU_BOUNDS.believed(gpu.metrics), containers)
