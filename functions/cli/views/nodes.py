"""How nodes are shown, from the JSON of the REST face."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from functions.cli.views.printing import Cell, Style

HEADER = ("CLUSTER", "NAME", "GPUS", "PODS", "BECAUSE", "FAULTS")


def cells(node: Mapping[str, Any]) -> tuple[Cell, ...]:
    """A line of the table."""
    pods = ("excluded", Style.BAD) if node["excluded"] else ("taken", Style.GOOD)
    gpus = node["gpus"]
    counts = "unknown" if gpus is None else ",".join(f"{sku}={count}" for sku, count in sorted(gpus.items()))
    faults = "; ".join(_fault(one) for one in node["faults"])
    return (node["cluster"], node["name"], counts, pods, _because(node), faults)


def _because(node: Mapping[str, Any]) -> str:
    said = []
    if node["excludedAt"] is not None:
        reason = f": {node['reason']}" if node["reason"] else ""
        said.append(f"{node['excludedBy']}{reason}")
    if node["faultySince"] is not None:
        proven = "" if node["provenAt"] is None else f", until {node['provenAt']} if it stays quiet"
        said.append(f"at fault since {node['faultySince']}{proven}")
    return "; ".join(said)


def _fault(fault: Mapping[str, Any]) -> str:
    return f"{fault['gpu'] or 'node'}: {fault['message'] or fault['kind']}"
