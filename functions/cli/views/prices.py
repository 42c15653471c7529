"""How prices are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from functions.cli.views.printing import Cell
from shared.rollout.pricing import Price

HEADER = ("KIND", "SKU", "CLUSTER", "USD/H", "PRICED ON", "SOURCE")


def cells(price: Mapping[str, Any]) -> tuple[Cell, ...]:
    """A line of the table."""
    cluster = price["cluster"] or "all"
    return (price["kind"], price["sku"], cluster, price["usdPerHour"], price["pricedOn"], price["source"])


def as_json(price: Price) -> dict[str, JsonValue]:
    """A price for programs; money is text."""
    return {
        "kind": price.kind.value,
        "sku": price.sku,
        "cluster": price.cluster,
        "usdPerHour": f"{price.usd_per_hour:f}",
        "pricedOn": price.priced_on.isoformat(),
        "source": price.source,
    }
