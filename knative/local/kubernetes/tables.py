"""Tables for `kubectl get`: the columns and cells that users know, for the served kinds."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from knative.local.kubernetes import clock, selectors
from knative.local.kubernetes.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    EVENT,
    JOB,
    NAMESPACE,
    NODE,
    POD,
    REPLICA_SET,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
    Kind,
)
from knative.local.kubernetes.objects import Stored

Object = dict[str, Any]
Cell = str | int


@dataclass(frozen=True)
class Column:
    """`wide` columns show with `-o wide` only."""

    name: str
    cell: Callable[[Object], Cell]
    wide: bool = False
    type: str = "string"


def span(seconds: float) -> str:
    """A duration as kubectl shortens it: `5s`, `3m20s`, `2h5m`, `3d4h`, `20d`."""
    total = int(seconds)
    if total < 120:
        return f"{max(total, 0)}s"
    minutes = total // 60
    if minutes < 10:
        return f"{minutes}m{total % 60}s" if total % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = total // 3600
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 192:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    return f"{days}d" if days < 730 else f"{days // 365}y{days % 365}d"


def _age(obj: Object) -> str:
    created = obj["metadata"].get("creationTimestamp")
    return span(clock.age(created)) if created else "<unknown>"


def _status(name: str) -> Callable[[Object], Cell]:
    return lambda obj: obj.get("status", {}).get(name, 0)


def _spec(name: str) -> Callable[[Object], Cell]:
    return lambda obj: obj.get("spec", {}).get(name, 0)


def _of(total: Cell, part: Cell) -> str:
    return f"{part}/{total}"


def _containers(field: str) -> Callable[[Object], Cell]:
    def cell(obj: Object) -> Cell:
        spec = obj["spec"]["template"].get("spec", {}) if "template" in obj["spec"] else obj["spec"]
        return ",".join(container.get(field, "") for container in spec.get("containers") or ())

    return cell


def _selector(obj: Object) -> Cell:
    return selectors.text_of(selectors.of_object(obj.get("spec", {}).get("selector"))) or "<none>"


NAME = Column("Name", lambda obj: obj["metadata"]["name"])
AGE = Column("Age", _age)
_CONTAINERS = Column("Containers", _containers("name"), wide=True)
_IMAGES = Column("Images", _containers("image"), wide=True)
_SELECTOR = Column("Selector", _selector, wide=True)


def _pod_statuses(obj: Object) -> list[Object]:
    return obj.get("status", {}).get("containerStatuses") or []


def _pod_status(obj: Object) -> Cell:
    status = obj.get("status", {})
    reason: str = status.get("reason") or status.get("phase", "Unknown")
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            reason = "SchedulingGated"
    for container in _pod_statuses(obj):
        state = container.get("state") or {}
        waiting, terminated = state.get("waiting") or {}, state.get("terminated") or {}
        if waiting.get("reason"):
            reason = waiting["reason"]
        elif terminated:
            reason = terminated.get("reason") or f"ExitCode:{terminated.get('exitCode')}"
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else reason


def _pod_ready(obj: Object) -> Cell:
    ready = sum(bool(container.get("ready")) for container in _pod_statuses(obj))
    return _of(len(obj.get("spec", {}).get("containers") or ()), ready)


def _pod_restarts(obj: Object) -> Cell:
    statuses = _pod_statuses(obj)
    count = sum(container.get("restartCount", 0) for container in statuses)
    finished = [
        moment
        for container in statuses
        if (moment := ((container.get("lastState") or {}).get("terminated") or {}).get("finishedAt"))
    ]
    return f"{count} ({span(clock.age(max(finished)))} ago)" if count and finished else str(count)


def _node_status(obj: Object) -> Cell:
    ready = "Unknown"
    for condition in obj.get("status", {}).get("conditions") or ():
        if condition.get("type") == "Ready":
            ready = "Ready" if condition.get("status") == "True" else "NotReady"
    return ready + (",SchedulingDisabled" if obj.get("spec", {}).get("unschedulable") else "")


def _node_roles(obj: Object) -> Cell:
    prefix = "node-role.kubernetes.io/"
    roles = [label.removeprefix(prefix) for label in obj["metadata"].get("labels") or () if label.startswith(prefix)]
    return ",".join(sorted(roles)) or "<none>"


def _node_info(name: str) -> Callable[[Object], Cell]:
    return lambda obj: obj.get("status", {}).get("nodeInfo", {}).get(name) or "<unknown>"


def _node_address(obj: Object) -> Cell:
    addresses = obj.get("status", {}).get("addresses") or ()
    return next((a.get("address", "<none>") for a in addresses if a.get("type") == "InternalIP"), "<none>")


def _job_status(obj: Object) -> Cell:
    for condition in obj.get("status", {}).get("conditions") or ():
        if condition.get("status") == "True" and condition.get("type") in ("Complete", "Failed", "Suspended"):
            return str(condition.get("type"))
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else "Running"


def _job_completions(obj: Object) -> Cell:
    succeeded = obj.get("status", {}).get("succeeded", 0)
    completions, parallelism = obj.get("spec", {}).get("completions"), obj.get("spec", {}).get("parallelism", 0)
    if completions is not None:
        return _of(completions, succeeded)
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _job_duration(obj: Object) -> Cell:
    status = obj.get("status", {})
    start, end = status.get("startTime"), status.get("completionTime")
    if not start:
        return ""
    return span(round(clock.age(start) - clock.age(end)) if end else clock.age(start))


def _service_ports(obj: Object) -> Cell:
    return (
        ",".join(f"{p.get('port', 0)}/{p.get('protocol', 'TCP')}" for p in obj.get("spec", {}).get("ports") or ())
        or "<none>"
    )


def _event_object(obj: Object) -> Cell:
    involved = obj.get("involvedObject") or {}
    return f"{involved.get('kind', '').lower()}/{involved.get('name', '')}"


def _event_seen(obj: Object) -> Cell:
    moment = obj.get("lastTimestamp") or obj.get("eventTime") or obj["metadata"].get("creationTimestamp")
    return span(clock.age(moment)) if moment else "<unknown>"


def _ready_of(obj: Object) -> Cell:
    return _of(obj.get("spec", {}).get("replicas", 0), obj.get("status", {}).get("readyReplicas", 0))


def _field(section: str, name: str, absent: str = "<none>") -> Callable[[Object], Cell]:
    return lambda obj: obj.get(section, {}).get(name) or absent


def _data_size(obj: Object) -> Cell:
    return len(obj.get("data") or {}) + len(obj.get("binaryData") or {})


COLUMNS: dict[Kind, tuple[Column, ...]] = {
    NAMESPACE: (NAME, Column("Status", _field("status", "phase")), AGE),
    NODE: (
        NAME,
        Column("Status", _node_status),
        Column("Roles", _node_roles),
        AGE,
        Column("Version", _node_info("kubeletVersion")),
        Column("Internal-IP", _node_address, wide=True),
        Column("OS-Image", _node_info("osImage"), wide=True),
        Column("Kernel-Version", _node_info("kernelVersion"), wide=True),
        Column("Container-Runtime", _node_info("containerRuntimeVersion"), wide=True),
    ),
    POD: (
        NAME,
        Column("Ready", _pod_ready),
        Column("Status", _pod_status),
        Column("Restarts", _pod_restarts),
        AGE,
        Column("IP", _field("status", "podIP"), wide=True),
        Column("Node", _field("spec", "nodeName"), wide=True),
        Column("Nominated Node", _field("status", "nominatedNodeName"), wide=True),
        Column("Readiness Gates", lambda _: "<none>", wide=True),
    ),
    DEPLOYMENT: (
        NAME,
        Column("Ready", _ready_of),
        Column("Up-to-date", _status("updatedReplicas"), type="integer"),
        Column("Available", _status("availableReplicas"), type="integer"),
        AGE,
        _CONTAINERS,
        _IMAGES,
        _SELECTOR,
    ),
    REPLICA_SET: (
        NAME,
        Column("Desired", _spec("replicas"), type="integer"),
        Column("Current", _status("replicas"), type="integer"),
        Column("Ready", _status("readyReplicas"), type="integer"),
        AGE,
        _CONTAINERS,
        _IMAGES,
        _SELECTOR,
    ),
    STATEFUL_SET: (NAME, Column("Ready", _ready_of), AGE, _CONTAINERS, _IMAGES),
    JOB: (
        NAME,
        Column("Status", _job_status),
        Column("Completions", _job_completions),
        Column("Duration", _job_duration),
        AGE,
        _CONTAINERS,
        _IMAGES,
        _SELECTOR,
    ),
    EVENT: (
        Column("Last Seen", _event_seen),
        Column("Type", lambda obj: obj.get("type", "")),
        Column("Reason", lambda obj: obj.get("reason", "")),
        Column("Object", _event_object),
        Column("Message", lambda obj: (obj.get("message") or "").strip()),
        Column("Count", lambda obj: obj.get("count", 1), wide=True, type="integer"),
        Column("Name", lambda obj: obj["metadata"]["name"], wide=True),
    ),
    SERVICE: (
        NAME,
        Column("Type", _field("spec", "type")),
        Column("Cluster-IP", _field("spec", "clusterIP")),
        Column("External-IP", lambda _: "<none>"),
        Column("Port(s)", _service_ports),
        AGE,
    ),
    CONFIG_MAP: (NAME, Column("Data", _data_size, type="integer"), AGE),
    SECRET: (
        NAME,
        Column("Type", lambda obj: obj.get("type", "")),
        Column("Data", _data_size, type="integer"),
        AGE,
    ),
    SERVICE_ACCOUNT: (NAME, AGE),
}


def render(kind: Kind, items: Iterable[Stored], metadata: Object, include: str) -> bytes:
    """A `Table`; `include` says what each row carries of its object: Metadata, Object or None."""
    columns = COLUMNS[kind]
    rows = []
    for stored in items:
        row: Object = {"cells": [column.cell(stored.obj) for column in columns]}
        if include == "Object":
            row["object"] = stored.obj
        elif include != "None":
            head = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
            row["object"] = head | {"metadata": stored.obj["metadata"]}
        rows.append(row)
    table = {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [_definition(column) for column in columns],
        "rows": rows,
    }
    return json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()


def _definition(column: Column) -> Object:
    return {
        "name": column.name,
        "type": column.type,
        "format": "name" if column.name == "Name" else "",
        "description": "",
        "priority": 1 if column.wide else 0,
    }
