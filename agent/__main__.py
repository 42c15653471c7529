"""The agent of a GPU node: `python -m agent`, and `python -m agent --once -o table|json` to see what a node has.

It measures until SIGTERM or SIGINT, and then sends what waits. A turn that hangs is left behind.

| exit code | meaning |
|---|---|
| 0 | the agent was told to end; with --once: every GPU answers |
| 1 | it cannot start, and says why on stderr; or its loop has ended by itself |
| 2 | the command line is wrong |
| 3 | with --once: the node has no GPU, or no driver |
| 4 | with --once: the driver hangs or was changed, or a GPU is lost or hangs |
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from agent import resident_memory
from agent.loop import Loop, Sampler
from agent.node import HostNode
from agent.pods import KubeletPods
from agent.settings import AgentSettings
from shared.errors import ConfigurationError
from shared.models.telemetry import GpuState, NodeState
from shared.observability import configure_logging
from shared.processes import follow_parent, inherited_socket
from shared.settings import SINK_TOKEN

if TYPE_CHECKING:
    from agent.publishing.delivery import Sink
    from agent.publishing.publisher import SpoolingPublisher
    from agent.readings import GpuSource, NodeReading
    from agent.scripted import ScriptedGpus

OVERDUE_READINGS, LEAST_OVERDUE = 4, timedelta(minutes=1)
"""A reading is overdue after so many intervals, and after a minute at least: a driver may take half of it to start."""
TURN_SECONDS, FLUSH_SECONDS = 3.0, 8.0
"""How long the end waits for the turn that has begun, and for what waits to be sent."""
SETTLED_SECONDS = 30.0
"""After so long everything is imported and connected."""
ONCE_SECONDS = 0.5
"""What --once measures over: the CPU, and the utilization of MIG instances."""

logger = logging.getLogger("sentinel.agent")


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m agent", description="The agent of a GPU node.")
    parser.add_argument("--once", action="store_true", help="read the node once, print it, and end")
    parser.add_argument("-o", "--output", choices=("table", "json"), help="with --once: table (default) or json")
    given = parser.parse_args(arguments)
    if given.output and not given.once:
        parser.error("-o needs --once")
    follow_parent()
    try:
        configure_logging()
        settings = AgentSettings.from_environment()
        return _once(settings, given.output or "table") if given.once else _run(settings)
    except ConfigurationError as error:
        print(f"the agent cannot start: {error}", file=sys.stderr)
        return 1


def _once(settings: AgentSettings, output: str) -> int:
    from agent.events import telemetry_data
    from agent.table import as_table

    gpus, containers = _sources(settings)
    try:
        sampler = Sampler(settings.cluster, settings.node, gpus, HostNode(), containers)
        gpus.read(datetime.now(UTC))  # MIG instances give their utilization since the reading before
        time.sleep(ONCE_SECONDS)
        reading = sampler.read(datetime.now(UTC))
    finally:
        gpus.close()
        containers.close()
    print(
        as_table(reading) if output == "table" else json.dumps(telemetry_data(reading), indent=2, default=dict) + "\n",
        end="",
    )
    return exit_code(reading)


def exit_code(reading: NodeReading) -> int:
    """What --once says of a node; see the table of the module."""
    match reading.state:
        case NodeState.NO_GPU | NodeState.DRIVER_MISSING:
            return 3
        case NodeState.DRIVER_HUNG | NodeState.DRIVER_CHANGED:
            return 4
        case NodeState.OK:
            return 0 if all(gpu.state is GpuState.OK for gpu in reading.gpus) else 4


def _run(settings: AgentSettings) -> int:
    from agent.exporter import Exporter
    from agent.faults.monitor import FaultMonitor
    from agent.faults.settings import FaultSettings
    from agent.metrics import FaultCollector, PublishingCollector

    resident_memory.use_one_arena()
    resident_memory.collect_rarely()
    stop = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: stop.set())
    with suppress(OSError):  # without it faults are remembered in memory alone; their monitor says so
        settings.state.mkdir(parents=True, exist_ok=True)
    gpus, containers = _sources(settings)
    publisher = _publisher(settings)
    detector = FaultMonitor(settings.state / "faults.json", FaultSettings.from_environment())
    exporter = Exporter(
        settings.exporter,
        overdue_after=max(OVERDUE_READINGS * settings.interval, LEAST_OVERDUE).total_seconds(),
        others=(FaultCollector(detector), *(() if publisher is None else (PublishingCollector(publisher),))),
    )
    address = exporter.start(inherited_socket())
    if publisher is None:
        logger.warning("neither K_SINK nor KAFKA_BOOTSTRAP is set: metrics are served, and no event is sent")
    else:
        publisher.start()
    sampler = Sampler(settings.cluster, settings.node, gpus, HostNode(), containers)
    turns = _Turns(Loop(sampler, exporter, detector, publisher, settings.interval), stop)
    turns.start()
    logger.info(
        "node %s: a reading every %g s, metrics at %s:%d",
        settings.node,
        settings.interval.total_seconds(),
        address.host,
        address.port,
    )
    if not stop.wait(SETTLED_SECONDS):
        resident_memory.give_back()
        stop.wait()
    turns.join(TURN_SECONDS)
    if not turns.is_alive():
        gpus.close()
        containers.close()
        detector.close()
    if publisher is not None:
        publisher.close(FLUSH_SECONDS)
    exporter.close()
    return 1 if turns.failed else 0


class _Turns(threading.Thread):
    """The loop, beside the main thread: that is woken by signals while a turn hangs."""

    def __init__(self, loop: Loop, stop: threading.Event) -> None:
        super().__init__(name="loop", daemon=True)
        self._loop = loop
        self._stop_event = stop
        self.failed = False

    def run(self) -> None:
        try:
            self._loop.run(self._stop_event)
        except BaseException:
            self.failed = True
            raise
        finally:
            self._stop_event.set()


def _sources(settings: AgentSettings) -> tuple[GpuSource, KubeletPods | ScriptedGpus]:
    """Of the GPUs, and of which container has which. A script stands for both."""
    if settings.script is not None:
        from agent.scripted import ScriptedGpus  # it needs pydantic, and a GPU node has no memory for that

        scripted = ScriptedGpus(settings.script, datetime.now(UTC))
        return scripted, scripted
    from agent.nvml.source import NvmlSource

    return NvmlSource(), KubeletPods(settings.pod_resources, interval=settings.pod_resources_interval)


def _publisher(settings: AgentSettings) -> SpoolingPublisher | None:
    from agent.publishing.publisher import SpoolingPublisher
    from agent.publishing.spool import Spool

    sink: Sink
    if settings.kafka:
        from agent.publishing.kafka import KafkaPublisher

        sink = KafkaPublisher(settings.kafka, settings.kafka_topic, credentials=settings.kafka_credentials)
    elif settings.sink is not None:
        from shared.eventing.publishing import HttpPublisher

        sink = HttpPublisher(settings.sink, token=SINK_TOKEN, authorities=settings.sink_authorities, connections=1)
    else:
        return None
    return SpoolingPublisher(sink, Spool(settings.state / "spool", settings.spool_bytes))


if __name__ == "__main__":
    sys.exit(main())
