"""How prices are shown, from the JSON of the REST face."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from functions.cli.views.printing import Cell

HEADER = ("KIND", "SKU", "CLUSTER", "USD/H", "PRICED ON", "SOURCE")


def cells(price: Mapping[str, Any]) -> tuple[Cell, ...]:
    """A line of the table."""
    cluster = price["cluster"] or "all"
    return (price["kind"], price["sku"], cluster, price["usdPerHour"], price["pricedOn"], price["source"])
