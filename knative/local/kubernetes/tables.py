"""Tables for `kubectl get`: the columns and cells that users know, for the served kinds."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from knative.local.kubernetes import clock
from knative.local.kubernetes.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    EVENT,
    JOB,
    NAMESPACE,
    NODE,
    POD,
    REPLICA_SET,
    STATEFUL_SET,
    Kind,
)
from knative.local.kubernetes.objects import Stored, encode

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


def _count(section: str, name: str) -> Callable[[Object], Cell]:
    return lambda obj: obj.get(section, {}).get(name, 0)


def _text(section: str, name: str, absent: str = "<none>") -> Callable[[Object], Cell]:
    return lambda obj: obj.get(section, {}).get(name) or absent


def _images(obj: Object) -> Cell:
    return ",".join(container.get("image", "") for container in obj["spec"]["template"]["spec"]["containers"])


NAME = Column("Name", lambda obj: obj["metadata"]["name"])
AGE = Column("Age", _age)
_IMAGES = Column("Images", _images, wide=True)


def _pod_statuses(obj: Object) -> list[Object]:
    return obj.get("status", {}).get("containerStatuses") or []


def _pod_status(obj: Object) -> Cell:
    status = obj.get("status", {})
    reason: str = status.get("reason") or status.get("phase", "Unknown")
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
    return f"{ready}/{len(obj['spec'].get('containers') or ())}"


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


def _job_status(obj: Object) -> Cell:
    for condition in obj.get("status", {}).get("conditions") or ():
        if condition.get("status") == "True" and condition.get("type") in ("Complete", "Failed"):
            return str(condition["type"])
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else "Running"


def _job_completions(obj: Object) -> Cell:
    return f"{obj.get('status', {}).get('succeeded', 0)}/{obj.get('spec', {}).get('completions', 1)}"


def _job_duration(obj: Object) -> Cell:
    status = obj.get("status", {})
    start, end = status.get("startTime"), status.get("completionTime")
    if not start:
        return ""
    return span(round(clock.age(start) - clock.age(end)) if end else clock.age(start))


def _event_object(obj: Object) -> Cell:
    involved = obj.get("involvedObject") or {}
    return f"{involved.get('kind', '').lower()}/{involved.get('name', '')}"


def _event_seen(obj: Object) -> Cell:
    moment = obj.get("lastTimestamp") or obj.get("eventTime") or obj["metadata"].get("creationTimestamp")
    return span(clock.age(moment)) if moment else "<unknown>"


def _ready(obj: Object) -> Cell:
    return f"{obj.get('status', {}).get('readyReplicas', 0)}/{obj.get('spec', {}).get('replicas', 0)}"


def _data_size(obj: Object) -> Cell:
    return len(obj.get("data") or {}) + len(obj.get("binaryData") or {})


COLUMNS: dict[Kind, tuple[Column, ...]] = {
    NAMESPACE: (NAME, Column("Status", _text("status", "phase")), AGE),
    NODE: (
        NAME,
        Column("Status", _node_status),
        Column("Roles", lambda _: "<none>"),
        AGE,
        Column("Version", lambda obj: obj.get("status", {}).get("nodeInfo", {}).get("kubeletVersion", "<unknown>")),
    ),
    POD: (
        NAME,
        Column("Ready", _pod_ready),
        Column("Status", _pod_status),
        Column("Restarts", _pod_restarts),
        AGE,
        Column("IP", _text("status", "podIP"), wide=True),
        Column("Node", _text("spec", "nodeName"), wide=True),
    ),
    DEPLOYMENT: (
        NAME,
        Column("Ready", _ready),
        Column("Up-to-date", _count("status", "updatedReplicas"), type="integer"),
        Column("Available", _count("status", "availableReplicas"), type="integer"),
        AGE,
        _IMAGES,
    ),
    REPLICA_SET: (
        NAME,
        Column("Desired", _count("spec", "replicas"), type="integer"),
        Column("Current", _count("status", "replicas"), type="integer"),
        Column("Ready", _count("status", "readyReplicas"), type="integer"),
        AGE,
        _IMAGES,
    ),
    STATEFUL_SET: (NAME, Column("Ready", _ready), AGE, _IMAGES),
    JOB: (
        NAME,
        Column("Status", _job_status),
        Column("Completions", _job_completions),
        Column("Duration", _job_duration),
        AGE,
        _IMAGES,
    ),
    EVENT: (
        Column("Last Seen", _event_seen),
        Column("Type", lambda obj: obj.get("type", "")),
        Column("Reason", lambda obj: obj.get("reason", "")),
        Column("Object", _event_object),
        Column("Message", lambda obj: (obj.get("message") or "").strip()),
    ),
    CONFIG_MAP: (NAME, Column("Data", _data_size, type="integer"), AGE),
}


def render(kind: Kind, items: Iterable[Stored], metadata: Object, query: Mapping[str, str]) -> bytes:
    """A `Table`; `includeObject` says what each row carries of its object: Metadata, Object or None."""
    columns, include = COLUMNS[kind], query.get("includeObject", "Metadata")
    rows = []
    for stored in items:
        row: Object = {"cells": [column.cell(stored.obj) for column in columns]}
        if include == "Object":
            row["object"] = stored.obj
        elif include != "None":
            head = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
            row["object"] = head | {"metadata": stored.obj["metadata"]}
        rows.append(row)
    table: Object = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
    return encode(table | {"columnDefinitions": [_definition(column) for column in columns], "rows": rows})


def _definition(column: Column) -> Object:
    format_ = "name" if column.name == "Name" else ""
    priority = 1 if column.wide else 0
    return {"name": column.name, "type": column.type, "format": format_, "description": "", "priority": priority}
