"""`sentinel cluster`: which clusters there are. Their credentials are files that only functions read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from pydantic import Field, ValidationError

from functions.cli.connection import open_store
from functions.cli.errors import BadInput
from functions.cli.operator import operator
from functions.cli.options import PLAIN, Format, Output, platform_of
from functions.cli.views import clusters as views
from functions.cli.views.printing import print_data, print_table
from shared.eventing.processing import describe
from shared.models.cluster import Cluster
from shared.models.fields import DnsLabel, LabelKey, LabelValue, Text, Wire
from shared.models.gpu import normalise_sku
from shared.operations import clusters as operations

app = typer.Typer(help="Clusters that workloads may be placed on.", **PLAIN)


class _Registration(Wire):
    """A cluster as it is typed in: counts are text."""

    name: DnsLabel
    labels: dict[LabelKey, LabelValue]
    gpus: dict[Text, Annotated[int, Field(ge=0, le=1_000_000)]] | None


@app.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="As in the name of its kubeconfig in CLUSTERS_DIR.")],
    label: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="May be repeated.")] = None,
    gpus: Annotated[list[str] | None, typer.Option(metavar="SKU=COUNT", help="Its GPUs; may be repeated.")] = None,
) -> None:
    """Register a cluster, or replace what is known of it. Without --gpus its capacity is unknown."""
    counts = _pairs("--gpus", gpus or [], normalise_sku)
    try:
        registration = _Registration.model_validate(
            {"name": name, "labels": _pairs("--label", label or []), "gpus": counts or None}
        )
    except ValidationError as error:
        raise BadInput(describe(error)) from None
    cluster = Cluster(registration.name, registration.labels, registration.gpus)
    with open_store(platform_of(context)) as store, store.begin() as work:
        operations.register(work, cluster, operator())


@app.command("list")
def list_clusters(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List the clusters, by name."""
    with open_store(platform_of(context)) as store, store.begin() as work:
        clusters = operations.list_clusters(work)
    if output is Format.TABLE:
        print_table(views.HEADER, [views.cells(cluster) for cluster in clusters])
    else:
        print_data([views.as_json(cluster) for cluster in clusters], output)


def _pairs(option: str, texts: Sequence[str], spelled: Callable[[str], str] = str) -> dict[str, str]:
    """By name, as it is `spelled`. Raises BadInput, also for two spellings of one name."""
    pairs: dict[str, str] = {}
    for text in texts:
        given, equals, value = text.partition("=")
        if not (given and equals):
            raise BadInput(f"{option} must be NAME=VALUE, not {text[:80]!r}")
        if (name := spelled(given)) in pairs:
            raise BadInput(f"{option} gives {name} twice")
        pairs[name] = value
    return pairs
