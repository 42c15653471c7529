"""Files that hold prices: CSV with the column names of the catalogue that is shipped."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from functions.cli.documents import label_of, read_text
from functions.cli.errors import BadInput
from shared import csv_file
from shared.csv_file import CsvError
from shared.eventing.processing import describe
from shared.models.fields import DnsLabel, Text
from shared.models.gpu import normalise_sku
from shared.rollout.pricing import Price, PriceKind

_REQUIRED = ("kind", "sku", "usd_per_hour", "source", "priced_on")


class _Row(BaseModel):
    """One line of the file, with the column names of the catalogue that is shipped; `cluster` may be left out."""

    model_config = ConfigDict(extra="forbid")

    kind: PriceKind
    sku: Annotated[str, Field(max_length=63)]
    usd_per_hour: Annotated[Decimal, Field(ge=0, max_digits=20, decimal_places=6, allow_inf_nan=False)]
    source: Text
    priced_on: date
    cluster: DnsLabel | None = None

    @model_validator(mode="after")
    def _sku_of_gpus_only(self) -> Self:
        if (self.kind is PriceKind.GPU) is not bool(self.sku.strip()):
            raise ValueError("a gpu needs a sku, and nothing else has one")
        return self

    def price(self) -> Price:
        sku = normalise_sku(self.sku) if self.sku else ""
        return Price(self.kind, self.usd_per_hour, self.source, self.priced_on, sku=sku, cluster=self.cluster or "")


def read_prices(file: str) -> list[Price]:
    """The prices in a file, each thing once. Raises BadInput that names every bad field."""
    label = label_of(file)
    prices: dict[tuple[str, str, str], Price] = {}
    problems: list[str] = []
    try:
        for row in csv_file.rows(read_text(file), label, _REQUIRED):
            where = f"{label}, line {row.line}"
            try:
                # A cluster that is left out is every cluster.
                price = _Row.model_validate({k: v for k, v in row.cells.items() if (k, v) != ("cluster", "")})
            except ValidationError as error:
                problems.append(f"{where}: {describe(error)}")
                continue
            _keep(price.price(), prices, where, problems)
    except CsvError as error:
        problems.append(str(error))
    if problems:
        raise BadInput("\n".join(problems))
    if not prices:
        raise BadInput(f"{label}: no price in it")
    return list(prices.values())


def _keep(price: Price, prices: dict[tuple[str, str, str], Price], where: str, problems: list[str]) -> None:
    key = (price.kind.value, price.sku, price.cluster)
    if key in prices:
        problems.append(f"{where}: the same thing has a price further up")
    prices[key] = price
