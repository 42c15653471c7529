"""`sentinel price`: what a GPU, a CPU core and a GiB of memory cost an hour."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Self

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from functions.cli.connection import open_store
from functions.cli.documents import label_of, read_text
from functions.cli.errors import BadInput
from functions.cli.operator import operator
from functions.cli.options import PLAIN, File, Format, Output, platform_of
from functions.cli.views import prices as views
from functions.cli.views.printing import print_data, print_table
from shared import csv_file
from shared.csv_file import CsvError
from shared.eventing.processing import describe
from shared.models.fields import DnsLabel, Text
from shared.models.gpu import normalise_sku
from shared.operations import prices as operations
from shared.rollout.pricing import Price, PriceKind

app = typer.Typer(help="Prices of GPUs, CPU cores and memory.", **PLAIN)

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


@app.command("set")
def set_prices(context: typer.Context, file: File) -> None:
    """Set prices, all in the file or none: kind,sku,usd_per_hour,source,priced_on and, if wanted, cluster."""
    prices = _read(file)
    with open_store(platform_of(context)) as store, store.begin() as work:
        operations.set_prices(work, prices, operator())
    typer.echo(f"{len(prices)} prices set")


@app.command("list")
def list_prices(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List the prices, by kind, SKU and cluster."""
    with open_store(platform_of(context)) as store, store.begin() as work:
        prices = operations.list_prices(work)
    if output is Format.TABLE:
        print_table(views.HEADER, [views.cells(views.as_json(price)) for price in prices])
    else:
        print_data([views.as_json(price) for price in prices], output)


def _read(file: str) -> list[Price]:
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
