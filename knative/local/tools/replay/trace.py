"""Cluster traces as CSV: pods and nodes, read strictly.

The format is that of Alibaba's GPU cluster traces of 2023. Columns are found by name and others are ignored:

    pods   name, cpu_milli, memory_mib, num_gpu, gpu_milli (share of one GPU, 1000 is the whole), gpu_spec (models that
           will do, separated by `|`; empty: any), qos, creation_time, deletion_time (seconds; empty: never)
    nodes  sn, cpu_milli, memory_mib, gpu, model (empty for a node without GPUs)

Whatever is wrong is an error that names the file, the line and the column (`shared.csv_file`); a trace is taken whole
or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from shared import csv_file
from shared.csv_file import CsvError, Row

_POD_COLUMNS = (
    "name",
    "cpu_milli",
    "memory_mib",
    "num_gpu",
    "gpu_milli",
    "gpu_spec",
    "qos",
    "creation_time",
    "deletion_time",
)
_NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LARGEST = 2**40  # beyond any machine and any time; a number over it is a mistake in the file


class TraceError(Exception):
    """The trace cannot be replayed; the message names what is wrong and, in a file, the line and the column."""


@dataclass(frozen=True)
class Pod:
    """cpu in millicores, memory in MiB, times in seconds from the start of the trace.

    gpus: whole ones, a share of one rounded up. models: any of these will do; empty means any at all.
    """

    name: str
    cpu: int
    memory_mib: int
    gpus: int
    models: tuple[str, ...]
    qos: str
    created: int
    deleted: int | None


@dataclass(frozen=True)
class Node:
    """cpu in millicores, memory in MiB; `model` is empty where there are no GPUs."""

    name: str
    cpu: int
    memory_mib: int
    gpus: int
    model: str


def read_pods(path: Path, limit: int | None = None) -> list[Pod]:
    """The first `limit` pods, or all of them, in the order of their creation (then of the file). Raises TraceError."""
    try:
        pods = [_pod(row) for row in _rows(path, _POD_COLUMNS, "name", limit)]
    except CsvError as error:
        raise TraceError(str(error)) from None
    if not pods:
        raise TraceError(f"{path}: holds no pods, only a header")
    return sorted(pods, key=lambda pod: pod.created)


def read_nodes(path: Path) -> list[Node]:
    """Every node, in the order of the file. Raises TraceError."""
    try:
        nodes = [_node(row) for row in _rows(path, _NODE_COLUMNS, "sn", None)]
    except CsvError as error:
        raise TraceError(str(error)) from None
    if not nodes:
        raise TraceError(f"{path}: holds no nodes, only a header")
    return nodes


def _pod(row: Row) -> Pod:
    gpus = row.whole("num_gpu", _LARGEST)
    if row.whole("gpu_milli", _LARGEST) and not gpus:
        gpus = 1
    models = tuple(model.strip() for model in row.cells["gpu_spec"].split("|") if model.strip())
    if any(not _LABEL_VALUE.fullmatch(model) for model in models):
        raise row.error("gpu_spec", "must be GPU models separated by '|', or empty")
    created = row.whole("creation_time", _LARGEST)
    deleted = row.whole("deletion_time", _LARGEST) if row.cells["deletion_time"] else None
    if deleted is not None and deleted < created:
        raise row.error("deletion_time", f"{deleted} is before the creation at {created}")
    return Pod(
        name=row.matching("name", _DNS_LABEL, "a name of lower-case letters, digits and '-', at most 63 characters"),
        cpu=row.whole("cpu_milli", _LARGEST),
        memory_mib=row.whole("memory_mib", _LARGEST),
        gpus=gpus,
        models=models,
        qos=row.matching("qos", _LABEL_VALUE, "a word, such as LS or BE"),
        created=created,
        deleted=deleted,
    )


def _node(row: Row) -> Node:
    gpus, model = row.whole("gpu", _LARGEST), row.cells["model"]
    if gpus or model:
        row.matching("model", _LABEL_VALUE, "a GPU model, such as T4; only a node without GPUs has none")
    return Node(
        name=row.matching("sn", _DNS_LABEL, "a name of lower-case letters, digits and '-', at most 63 characters"),
        cpu=row.whole("cpu_milli", _LARGEST),
        memory_mib=row.whole("memory_mib", _LARGEST),
        gpus=gpus,
        model=model,
    )


def _rows(path: Path, columns: tuple[str, ...], key: str, limit: int | None) -> Iterator[Row]:
    """The first `limit` lines, each with a key of its own."""
    seen: dict[str, int] = {}
    try:
        text = csv_file.decoded(path.read_bytes(), str(path))
        for row in islice(csv_file.rows(text, str(path), columns), limit):
            name = row.cells[key]
            if name in seen:
                raise row.error(key, f"{name!r} is in line {seen[name]} already")
            seen[name] = row.line
            yield row
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}") from None
