"""The events of the agent are those of the catalogue, under the same ids whenever they are sent."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime

from agent.events import FAULT, TELEMETRY, fault_event, telemetry_event
from agent.faults.fault import Fault
from events import CATALOGUE
from events.telemetry import GpuFault, TelemetryGpu
from shared.eventing import codec
from shared.models.telemetry import Blame, Container, FaultKind, FaultState, GpuState, NodeState
from tests.support.gpus import OBSERVED, gpu_reading, node_reading

RAISED = Fault(
    uuid.UUID(int=1),
    "local",
    "gpu-0",
    "GPU-0",
    FaultKind.XID,
    FaultState.RAISED,
    Blame.GPU,
    79,
    "RESET_GPU",
    OBSERVED,
    "XID 79",
    {"xid": 79, "driver": "580"},
    (Container("search", "web", "main"),),
)


def test_the_types_are_those_of_the_catalogue() -> None:
    assert CATALOGUE.of(TelemetryGpu, GpuFault).keys() == {TELEMETRY, FAULT}


def test_a_reading_is_an_event_of_its_node() -> None:
    mig = gpu_reading(gpu="MIG-0", parent="GPU-0", profile="1g.10gb", instance=3)
    lost = gpu_reading(1, state=GpuState.LOST, metrics={})
    reading = node_reading(gpu_reading(containers=("search/web/main",)), mig, lost)
    event = telemetry_event(reading)
    codec.decode(*codec.encode(event))
    assert event.attributes["source"] == "/sentinel/agents/local/gpu-0"
    assert event.attributes["subject"] == event.attributes["partitionkey"] == "gpu-0"
    data = TelemetryGpu.model_validate_json(event.body)
    assert (data.cluster, data.node, data.observed_at, data.driver) == ("local", "gpu-0", OBSERVED, "580.95.05")
    assert data.metrics == reading.metrics
    for sent, read in zip(data.gpus, reading.gpus, strict=True):
        assert (sent.gpu, sent.index, sent.product, sent.state) == (read.gpu, read.index, read.product, read.state)
        assert (sent.parent, sent.profile, sent.metrics) == (read.parent, read.profile, read.metrics)
        assert [(one.namespace, one.pod, one.container) for one in sent.containers] == [
            (one.namespace, one.pod, one.name) for one in read.containers
        ]


def test_a_node_without_a_driver_is_an_event_too() -> None:
    event = telemetry_event(node_reading(state=NodeState.DRIVER_MISSING, driver=None))
    assert TelemetryGpu.model_validate_json(event.body).state is NodeState.DRIVER_MISSING


def test_a_fault_is_an_event_with_its_evidence() -> None:
    event = fault_event(RAISED)
    codec.decode(*codec.encode(event))
    data = GpuFault.model_validate_json(event.body)
    assert (data.fault, data.kind, data.state, data.blame) == (RAISED.fault, "xid", "raised", "gpu")
    assert (data.xid, data.action, data.evidence) == (79, "RESET_GPU", RAISED.evidence)
    assert [one.pod for one in data.containers] == ["web"]


def test_what_is_sent_twice_has_one_id_and_everything_else_its_own() -> None:
    reading = node_reading()
    later = replace(reading, observed_at=datetime(2026, 1, 1, 0, 0, 10, tzinfo=UTC))
    cleared = replace(RAISED, state=FaultState.CLEARED)
    events = [telemetry_event(one) for one in (reading, later, replace(reading, node="gpu-1"))]
    events += [fault_event(one) for one in (RAISED, cleared)]
    assert len({(event.attributes["source"], event.attributes["id"]) for event in events}) == len(events)
    assert telemetry_event(reading) == events[0]
    assert fault_event(RAISED) == events[3]
