"""`sentinel price`: what a GPU, a CPU core and a GiB of memory cost an hour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from functions.cli.options import PLAIN, File, Format, Output, client_of
from functions.cli.views import prices as views
from functions.cli.views.printing import print_data, print_table

if TYPE_CHECKING:
    from pydantic import JsonValue

app = typer.Typer(help="Prices of GPUs, CPU cores and memory.", **PLAIN)

_MOST = 1_000_000


@app.command("set")
def set_prices(context: typer.Context, file: File) -> None:
    """Set prices, all in the file or none: kind,sku,usd_per_hour,source,priced_on and, if wanted, cluster."""
    from functions.cli.price_files import read_prices

    prices = read_prices(file)
    client_of(context).send("PUT", "/prices", {"items": [_update(price.as_json()) for price in prices]})
    typer.echo(f"{len(prices)} prices set")


@app.command("list")
def list_prices(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List the prices, by kind, SKU and cluster."""
    prices = client_of(context).pages("/prices", _MOST).items
    if output is Format.TABLE:
        print_table(views.HEADER, [views.cells(price) for price in prices])
    else:
        print_data(prices, output)


def _update(price: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """A cluster that is left out is every cluster."""
    return {name: value for name, value in price.items() if (name, value) != ("cluster", "")}
