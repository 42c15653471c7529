"""How prices are shown."""

from __future__ import annotations

from pydantic import JsonValue

from functions.cli.views.printing import Cell
from shared.rollout.pricing import Price

HEADER = ("KIND", "SKU", "CLUSTER", "USD/H", "PRICED ON", "SOURCE")


def cells(price: Price) -> tuple[Cell, ...]:
    """A line of the table."""
    usd = f"{price.usd_per_hour:f}"
    return (price.kind, price.sku, price.cluster or "all", usd, price.priced_on.isoformat(), price.source)


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
