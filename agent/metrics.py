"""What Prometheus gets from one reading of a node.

A field that NVIDIA's dcgm-exporter has too is exported under its name, in its unit and with its labels, so that its
dashboards work unchanged: agent/metrics.csv. Its column `entity` says what has the metric: `gpu` (a whole GPU), `mig`
(a MIG instance, whose utilization dcgm-exporter has under another name), or both where it is empty. Every other field
is `sentinel_agent_gpu_` or `sentinel_agent_node_` and its name. The labels are those of dcgm-exporter 4.5:

    gpu, device         NVML's index, and `nvidia` with it; of the parent for a MIG instance
    UUID, pci_bus_id, modelName
    GPU_I_PROFILE, GPU_I_ID      of a MIG instance
    container, namespace, pod    where a container has the GPU; where several do, each gets the series
    Hostname            the node's name
    DCGM_FI_DRIVER_VERSION

Prometheus' client ends the name of every counter in `_total`, which dcgm-exporter does not: `exposition` takes it away.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.faults.monitor import FaultMonitor
from agent.publishing.publisher import SpoolingPublisher
from agent.readings import GpuReading, NodeReading
from shared.models.telemetry import GpuState, NodeState
from shared.telemetry.fields import GPU_FIELDS, NODE_FIELDS, Field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The text format of dcgm-exporter. OpenMetrics is not offered: there, a counter must end in `_total`."""

_COUNTER_LINE = re.compile(rb"^(# (?:HELP|TYPE) DCGM_\w+)_total ", re.MULTILINE)
_GPU_STATE = "How the agent found the GPU: 1 for the state that it has."
_NODE_STATE = "How the agent found the node: 1 for the state that it has."


@dataclass(frozen=True)
class _Exported:
    """How a field is exported: value * multiply / divide. entity: see agent/metrics.csv."""

    metric: str
    type: str
    help: str
    multiply: int = 1
    divide: int = 1
    entity: str = ""

    def covers(self, gpu: GpuReading) -> bool:
        return not self.entity or self.entity == ("gpu" if gpu.parent is None else "mig")

    def value(self, measured: float) -> float:
        return measured * self.multiply / self.divide


def _own(prefix: str, field: Field) -> _Exported:
    return _Exported(f"{prefix}_{field.name}", "counter" if field.counter else "gauge", f"{field.help}.")


def _of_gpus() -> Sequence[tuple[str, _Exported]]:
    """Each field, with each metric that it is exported as."""
    found: dict[str, list[_Exported]] = {}
    with files("agent").joinpath("metrics.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            field = GPU_FIELDS[row["field"]]
            unit = f", in {row['unit']}" if row["unit"] else ""
            factors = int(row["multiply"]), int(row["divide"])
            exported = _Exported(row["metric"], row["type"], f"{field.help}{unit}.", *factors, row["entity"])
            found.setdefault(field.name, []).append(exported)
    return [
        (name, exported)
        for name, field in GPU_FIELDS.items()
        for exported in found.get(name) or [_own("sentinel_agent_gpu", field)]
    ]


_GPU_METRICS = _of_gpus()
_NODE_METRICS = {name: _own("sentinel_agent_node", field) for name, field in NODE_FIELDS.items()}


class ReadingCollector(Collector):
    """Shows the reading that `latest` returns at each scrape; while it returns none, nothing."""

    def __init__(self, latest: Callable[[], NodeReading | None]) -> None:
        self._latest = latest

    def collect(self) -> Iterable[Metric]:
        """The families of the reading. A GPU that is not in it has no series."""
        reading = self._latest()
        return () if reading is None else _families(reading)


class PublishingCollector(Collector):
    """How events are delivered."""

    def __init__(self, publisher: SpoolingPublisher) -> None:
        self._publisher = publisher

    def collect(self) -> Iterable[Metric]:
        """One family each."""
        state = self._publisher.state
        name = "sentinel_agent_events"
        return (
            CounterMetricFamily(f"{name}_published", "Events that the sink has.", state.published),
            CounterMetricFamily(f"{name}_refused", "Events that the sink will never take.", state.refused),
            CounterMetricFamily(f"{name}_dropped", "Events that made room for newer ones.", state.dropped),
            CounterMetricFamily(f"{name}_unreadable", "Records of the spool that were skipped.", state.unreadable),
            GaugeMetricFamily(f"{name}_waiting", "Events that the sink does not have yet.", state.waiting),
            GaugeMetricFamily("sentinel_agent_spool_bytes", "What the spool takes of the disk.", state.spool_bytes),
            GaugeMetricFamily(
                "sentinel_agent_publishing_failures", "Attempts that failed since the sink took one.", state.failures
            ),
        )


class FaultCollector(Collector):
    """The faults that stand. The label UUID is empty for a fault of the node."""

    def __init__(self, monitor: FaultMonitor) -> None:
        self._monitor = monitor

    def collect(self) -> Iterable[Metric]:
        """One family."""
        faults = GaugeMetricFamily(
            "sentinel_agent_standing_faults",
            "Faults that are raised and not cleared.",
            labels=("UUID", "kind", "xid", "blame"),
        )
        for key, standing in self._monitor.standing.items():
            faults.add_metric((key.gpu or "", key.kind, "" if key.xid is None else str(key.xid), standing.blame), 1)
        return (faults,)


def exposition(registry: CollectorRegistry) -> bytes:
    """The metrics of the registry in the text format, with the counters of dcgm-exporter as it names them."""
    return _COUNTER_LINE.sub(rb"\1 ", generate_latest(registry))


def _families(reading: NodeReading) -> Iterator[Metric]:
    host = {"Hostname": reading.node}
    yield _states("sentinel_agent_node_state", _NODE_STATE, NodeState, [(host, reading.state)])
    for name, exported in _NODE_METRICS.items():
        if (value := reading.metrics.get(name)) is not None:
            yield _family(exported, [(host, value)])
    labelled = [(labels, gpu) for gpu in reading.gpus for labels in _labels(gpu, reading)]
    yield _states("sentinel_agent_gpu_state", _GPU_STATE, GpuState, [(labels, gpu.state) for labels, gpu in labelled])
    for name, exported in _GPU_METRICS:
        if samples := [
            (labels, gpu.metrics[name]) for labels, gpu in labelled if name in gpu.metrics and exported.covers(gpu)
        ]:
            yield _family(exported, samples)


def _labels(gpu: GpuReading, reading: NodeReading) -> list[dict[str, str]]:
    """One set of labels for each container, or one for a GPU that nobody has."""
    labels = {
        "gpu": str(gpu.index),
        "UUID": gpu.parent or gpu.gpu,
        "pci_bus_id": gpu.pci_bus_id,
        "device": f"nvidia{gpu.index}",
        "modelName": gpu.product,
        "Hostname": reading.node,
        "DCGM_FI_DRIVER_VERSION": reading.driver or "",
    }
    if gpu.parent is not None:
        labels["GPU_I_PROFILE"] = gpu.profile or ""
        labels["GPU_I_ID"] = gpu.gpu if gpu.instance is None else str(gpu.instance)
    if not gpu.containers:
        return [labels]
    return [{**labels, "container": one.name, "namespace": one.namespace, "pod": one.pod} for one in gpu.containers]


def _family(exported: _Exported, samples: list[tuple[dict[str, str], float]]) -> Metric:
    family = Metric(exported.metric.removesuffix("_total"), exported.help, exported.type)
    for labels, value in samples:
        family.add_sample(exported.metric, labels, exported.value(value))
    return family


def _states(
    name: str, text: str, states: type[NodeState] | type[GpuState], found: list[tuple[dict[str, str], str]]
) -> Metric:
    family = Metric(name, text, "gauge")
    for labels, has in found:
        for state in states:
            family.add_sample(name, {**labels, "state": state.value}, 1.0 if state == has else 0.0)
    return family
