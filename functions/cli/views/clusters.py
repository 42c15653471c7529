"""How clusters are shown."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from functions.cli.views.printing import Cell
from shared.models.cluster import Cluster

HEADER = ("NAME", "LABELS", "GPUS")


def cells(cluster: Cluster) -> tuple[Cell, ...]:
    """A line of the table."""
    return (cluster.name, _joined(cluster.labels), _joined(cluster.gpus))


def as_json(cluster: Cluster) -> dict[str, JsonValue]:
    """A cluster for programs; `gpus` is null when its capacity is not known."""
    gpus = None if cluster.gpus is None else dict[str, JsonValue](cluster.gpus)
    return {"name": cluster.name, "labels": dict(cluster.labels), "gpus": gpus}


def _joined(values: Mapping[str, object] | None) -> str:
    return "unknown" if values is None else ",".join(f"{name}={value}" for name, value in sorted(values.items()))
