"""How costs are shown, from the JSON of the REST face."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from functions.cli.views.printing import Cell, Style, money

_UNKNOWN = "-"

FOCUS_COLUMNS = (
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "BilledCost",
    "EffectiveCost",
    "BillingCurrency",
    "ChargeCategory",
    "ChargeDescription",
    "ServiceCategory",
    "ServiceName",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "SkuId",
    "SubAccountId",
    "SubAccountName",
    "x_Cluster",
    "x_UsedGpuHours",
    "x_IdleCost",
    "x_CostPerHour",
    "x_MonthToDateCost",
    "x_ForecastCost",
    "x_CeilingCost",
)
"""Columns of the FinOps Open Cost and Usage Specification (FOCUS, version 1.2); a custom column begins with `x_`."""


def header(by: str) -> tuple[str, ...]:
    """The names of the columns of a table."""
    return (by.upper(), "GPU HOURS", "USED", "USD", "IDLE USD", "USD/H", "MONTH", "FORECAST", "CEILING")


def cells(line: Mapping[str, Any]) -> tuple[Cell, ...]:
    """A line of the table. A forecast over the ceiling stands out."""
    forecast, ceiling = line["forecastUsd"], line["ceilingUsd"]
    over = ceiling is not None and Decimal(forecast) > Decimal(ceiling)
    return (
        line["name"] or "none",
        _hours(line["allocatedGpuHours"]),
        _hours(line["usedGpuHours"]),
        money(line["usd"]),
        _money(line["idleUsd"]),
        money(line["usdPerHour"]),
        money(line["monthToDateUsd"]),
        (money(forecast), Style.BAD if over else Style.PLAIN),
        _money(ceiling),
    )


def focus(report: Mapping[str, Any]) -> str:
    """The lines as CSV, without the total."""
    file = io.StringIO()
    writer = csv.DictWriter(file, FOCUS_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for line in report["items"]:
        writer.writerow(_focus_row(report, line))
    return file.getvalue()


def _focus_row(report: Mapping[str, Any], line: Mapping[str, Any]) -> dict[str, Any]:
    by = report["by"]
    row = {
        "ChargePeriodStart": report["since"],
        "ChargePeriodEnd": report["until"],
        "BilledCost": line["usd"],
        "EffectiveCost": line["usd"],
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "ChargeDescription": f"{by} {line['name'] or 'none'}",
        "ServiceCategory": "Compute",
        "ServiceName": "Sentinel",
        "ConsumedQuantity": line["allocatedGpuHours"],
        "ConsumedUnit": "GPU Hours",
        "x_UsedGpuHours": line["usedGpuHours"],
        "x_IdleCost": line["idleUsd"],
        "x_CostPerHour": line["usdPerHour"],
        "x_MonthToDateCost": line["monthToDateUsd"],
        "x_ForecastCost": line["forecastUsd"],
        "x_CeilingCost": line["ceilingUsd"],
    }
    match by:
        case "team":
            row |= {"SubAccountId": line["key"], "SubAccountName": line["name"]}
        case "workload":
            row |= {"ResourceId": line["key"], "ResourceName": line["name"], "ResourceType": "Workload"}
        case "sku":
            row["SkuId"] = line["key"]
        case _:
            row["x_Cluster"] = line["key"]
    return row


def _hours(text: str | None) -> str:
    return _UNKNOWN if text is None else f"{Decimal(text):.1f}"


def _money(text: str | None) -> str:
    return _UNKNOWN if text is None else money(text)
