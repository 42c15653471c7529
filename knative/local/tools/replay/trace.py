"""Cluster traces as CSV: pods and nodes, read strictly.

The format is that of Alibaba's GPU cluster traces of 2023. Columns are found by name and others are ignored:

    pods   name, cpu_milli, memory_mib, num_gpu, gpu_milli (share of one GPU, 1000 is the whole), gpu_spec (models that
           will do, separated by `|`; empty: any), qos, creation_time, deletion_time (seconds; empty: never)
    nodes  sn, cpu_milli, memory_mib, gpu, model

Whatever is wrong is an error that names the file, the line and the column; a trace is taken whole or not at all.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
    """The file is not a trace; the message names the file, the line and the column."""


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
    """cpu in millicores, memory in MiB."""

    name: str
    cpu: int
    memory_mib: int
    gpus: int
    model: str


def read_pods(path: Path, limit: int | None = None) -> list[Pod]:
    """The first `limit` pods, or all of them, in the order of their creation (then of the file). Raises TraceError."""
    pods = [_pod(row) for row in _rows(path, _POD_COLUMNS, "name", limit)]
    if not pods:
        raise TraceError(f"{path}: holds no pods, only a header")
    return sorted(pods, key=lambda pod: pod.created)


def read_nodes(path: Path) -> list[Node]:
    """Every node, in the order of the file. Raises TraceError."""
    nodes = [_node(row) for row in _rows(path, _NODE_COLUMNS, "sn", None)]
    if not nodes:
        raise TraceError(f"{path}: holds no nodes, only a header")
    return nodes


@dataclass(frozen=True)
class _Row:
    path: Path
    line: int
    cells: dict[str, str]

    def whole(self, column: str) -> int:
        text = self.cells[column]
        if not re.fullmatch(r"[0-9]{1,13}", text) or int(text) > _LARGEST:
            raise self.error(column, f"{text[:40]!r} must be a whole number, zero or more")
        return int(text)

    def optional(self, column: str) -> int | None:
        return self.whole(column) if self.cells[column] else None

    def matching(self, column: str, pattern: re.Pattern[str], rule: str) -> str:
        text = self.cells[column]
        if not pattern.fullmatch(text):
            raise self.error(column, f"{text[:80]!r} must be {rule}")
        return text

    def error(self, column: str, message: str) -> TraceError:
        return TraceError(f"{self.path}, line {self.line}, column {column}: {message}")


def _pod(row: _Row) -> Pod:
    gpus = row.whole("num_gpu")
    if row.whole("gpu_milli") and not gpus:
        gpus = 1
    models = tuple(model.strip() for model in row.cells["gpu_spec"].split("|") if model.strip())
    if any(not _LABEL_VALUE.fullmatch(model) for model in models):
        raise row.error("gpu_spec", "must be GPU models separated by '|', or empty")
    created, deleted = row.whole("creation_time"), row.optional("deletion_time")
    if deleted is not None and deleted < created:
        raise row.error("deletion_time", f"{deleted} is before the creation at {created}")
    return Pod(
        name=row.matching("name", _DNS_LABEL, "a name of lower-case letters, digits and '-', at most 63 characters"),
        cpu=row.whole("cpu_milli"),
        memory_mib=row.whole("memory_mib"),
        gpus=gpus,
        models=models,
        qos=row.matching("qos", _LABEL_VALUE, "a word, such as LS or BE"),
        created=created,
        deleted=deleted,
    )


def _node(row: _Row) -> Node:
    return Node(
        name=row.matching("sn", _DNS_LABEL, "a name of lower-case letters, digits and '-', at most 63 characters"),
        cpu=row.whole("cpu_milli"),
        memory_mib=row.whole("memory_mib"),
        gpus=row.whole("gpu"),
        model=row.matching("model", _LABEL_VALUE, "a GPU model, such as T4"),
    )


def _rows(path: Path, columns: tuple[str, ...], key: str, limit: int | None) -> Iterator[_Row]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            yield from _parsed(path, csv.reader(file, strict=True), columns, key, limit)
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TraceError(f"{path}: is not text in UTF-8") from None


def _parsed(
    path: Path, reader: Iterator[list[str]], columns: tuple[str, ...], key: str, limit: int | None
) -> Iterator[_Row]:
    seen: dict[str, int] = {}
    line = 0
    try:
        header = [cell.strip() for cell in next(reader, [])]
        for column in columns:
            if column not in header:
                raise TraceError(f"{path}, line 1: there is no column {column}; needed are {', '.join(columns)}")
        for line, cells in enumerate(reader, start=2):
            if limit is not None and len(seen) >= limit:
                return
            if len(cells) != len(header):
                raise TraceError(f"{path}, line {line}: {len(cells)} columns, but the header has {len(header)}")
            row = _Row(path, line, dict(zip(header, (cell.strip() for cell in cells), strict=True)))
            name = row.cells[key]
            if name in seen:
                raise row.error(key, f"{name!r} is in line {seen[name]} already")
            seen[name] = line
            yield row
    except csv.Error as error:
        raise TraceError(f"{path}, line {line + 1}: not CSV: {error}") from None
