"""How idle GPUs are shown, from the JSON of the REST face."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from functions.cli.views.printing import Cell, money

HEADER = ("CLUSTER", "NODE", "GPU", "PRODUCT", "WORKLOAD", "USED", "USD/HOUR", "USD")


def cells(gpu: Mapping[str, Any]) -> tuple[Cell, ...]:
    """A line of the table. USED: at most, in percent. USD: over the window."""
    product = f"{gpu['product']} {gpu['profile'] or ''}".strip()
    used = f"{gpu['highestUtilizationPercent']:g}%"
    return (*(gpu[name] for name in ("cluster", "node", "gpu")), product, gpu["name"], used, *_money(gpu))


def total(report: Mapping[str, Any]) -> tuple[Cell, ...]:
    """The last line."""
    return ("total", "", str(report["gpus"]), "", "", "", *_money(report))


def _money(of: Mapping[str, Any]) -> tuple[str, str]:
    return money(of["usdPerHour"]), money(of["usd"])
