"""A reading and a fault as events: dev.sentinel.telemetry.gpu.v1 and dev.sentinel.gpu.fault.v1 (events/telemetry.py).

They are written here and not by the models of the catalogue: these cost the agent 11 MiB of memory. A test holds the
two against each other.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from agent.faults.fault import Fault
from agent.readings import GpuReading, NodeReading
from shared.eventing.event import WireEvent
from shared.models.moments import rfc3339
from shared.models.telemetry import Container, GpuState

TELEMETRY, FAULT = "dev.sentinel.telemetry.gpu.v1", "dev.sentinel.gpu.fault.v1"


def telemetry_event(reading: NodeReading) -> WireEvent:
    """One for a node and a moment: a reading that is sent twice has the same id."""
    return _event(TELEMETRY, reading.cluster, reading.node, reading.observed_at, telemetry_data(reading))


def fault_event(fault: Fault) -> WireEvent:
    """One for a fault that is raised, and one for the same fault that is cleared."""
    data = {
        "fault": str(fault.fault),
        "cluster": fault.cluster,
        "node": fault.node,
        "gpu": fault.gpu,
        "kind": fault.kind,
        "state": fault.state,
        "blame": fault.blame,
        "xid": fault.xid,
        "action": fault.action,
        "observedAt": rfc3339(fault.observed_at),
        "message": fault.message,
        "evidence": dict(fault.evidence),
        "containers": _containers(fault.containers),
    }
    return _event(FAULT, fault.cluster, fault.node, fault.observed_at, data, f"/{fault.fault}/{fault.state}")


def telemetry_data(reading: NodeReading) -> dict[str, Any]:
    """The data of the event, for JSON; mappings in it may be of any kind."""
    return {
        "cluster": reading.cluster,
        "node": reading.node,
        "observedAt": rfc3339(reading.observed_at),
        "state": reading.state,
        "driver": reading.driver,
        "metrics": reading.metrics,
        "gpus": [_gpu(gpu) for gpu in reading.gpus],
    }


def _gpu(gpu: GpuReading) -> dict[str, Any]:
    data: dict[str, Any] = {"gpu": gpu.gpu, "index": gpu.index, "product": gpu.product, "metrics": gpu.metrics}
    if gpu.state is not GpuState.OK:
        data["state"] = gpu.state
    if gpu.parent is not None:
        data |= {"parent": gpu.parent, "profile": gpu.profile}
    if gpu.containers:
        data["containers"] = _containers(gpu.containers)
    return data


def _containers(containers: tuple[Container, ...]) -> list[dict[str, str]]:
    return [{"namespace": one.namespace, "pod": one.pod, "container": one.name} for one in containers]


def _event(
    type_name: str, cluster: str, node: str, at: datetime, data: Mapping[str, Any], distinct: str = ""
) -> WireEvent:
    """distinct: what tells it from others of its type and moment."""
    time = rfc3339(at)
    attributes = {
        "specversion": "1.0",
        "id": f"{type_name}/{time}{distinct}",
        "source": f"/sentinel/agents/{cluster}/{node}",
        "type": type_name,
        "subject": node,
        "partitionkey": node,
        "time": time,
        "datacontenttype": "application/json",
    }
    return WireEvent(attributes, orjson.dumps(data, default=dict))
