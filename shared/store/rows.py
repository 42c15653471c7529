"""Between rows and models."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from shared.models.amounts import Amounts

AMOUNT_COLUMNS = ("replicas", "cpu", "memory", "gpus", "usd_per_hour")


def amounts_to_columns(amounts: Amounts) -> dict[str, Any]:
    return {name: getattr(amounts, name) for name in AMOUNT_COLUMNS}


def amounts_from(row: Mapping[Any, Any]) -> Amounts:
    """From a JSON document, or from a row that has the columns."""
    return Amounts(
        int(row["replicas"]),
        int(row["cpu"]),
        int(row["memory"]),
        int(row["gpus"]),
        Decimal(row["usd_per_hour"]),
    )
