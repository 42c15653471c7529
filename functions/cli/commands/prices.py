"""`sentinel price`: what a GPU, a CPU core and a GiB of memory cost an hour."""

import csv
import io
from datetime import date
from decimal import Decimal
from typing import Annotated, Self

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from functions.cli.connection import Platform, open_store
from functions.cli.documents import label_of, read_text
from functions.cli.errors import BadInput
from functions.cli.operator import operator
from functions.cli.options import Format
from functions.cli.views.printing import print_data, print_table
from shared.eventing.processing import describe
from shared.models.gpu import normalise_sku
from shared.models.workload import DnsLabel, Text
from shared.rollout.pricing import Price, PriceKind

_HEADER = ("KIND", "SKU", "CLUSTER", "USD/H", "PRICED ON", "SOURCE")
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


def set_all(platform: Platform, file: str) -> None:
    """Adds every price in the file, or none when one is bad; a price of the same thing is replaced. Raises BadInput."""
    prices = _read(file)
    with open_store(platform) as store, store.begin() as work:
        work.catalogue.set_prices(prices)
        told = [f"{p.kind} {p.sku} {p.cluster}".strip() + f" {p.usd_per_hour:f}" for p in prices]
        work.audit("prices.set", "prices", operator(), prices=list(told))
    typer.echo(f"{len(prices)} prices set")


def show_all(platform: Platform, form: Format) -> None:
    """Prints the catalogue by kind, SKU and cluster."""
    with open_store(platform) as store, store.begin() as work:
        prices = work.catalogue.prices()
    if form is Format.TABLE:
        rows = [
            (p.kind, p.sku, p.cluster or "all", f"{p.usd_per_hour:f}", p.priced_on.isoformat(), p.source)
            for p in prices
        ]
        print_table(_HEADER, rows)
        return
    print_data(
        [
            {
                "kind": p.kind.value,
                "sku": p.sku,
                "cluster": p.cluster,
                "usdPerHour": f"{p.usd_per_hour:f}",
                "pricedOn": p.priced_on.isoformat(),
                "source": p.source,
            }
            for p in prices
        ],
        form,
    )


def _read(file: str) -> list[Price]:
    reader = csv.DictReader(io.StringIO(read_text(file)), strict=True)
    label = label_of(file)
    missing = [column for column in _REQUIRED if column not in (reader.fieldnames or ())]
    if missing:
        raise BadInput(f"{label}: the column {missing[0]} is missing; the first line names {', '.join(_REQUIRED)}")
    prices: dict[tuple[str, str, str], Price] = {}
    problems: list[str] = []
    try:
        for row in reader:
            try:
                price = _Row.model_validate({str(k or "more"): v for k, v in row.items() if (k, v) != ("cluster", "")})
            except ValidationError as error:
                problems.append(f"{label}, line {reader.line_num}: {describe(error)}")
                continue
            _keep(price.price(), prices, f"{label}, line {reader.line_num}", problems)
    except csv.Error as error:
        problems.append(f"{label}, after line {reader.line_num}: {error}")
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
