"""`sentinel cluster`: which clusters there are, and what an operator says of them.

Their credentials are files that only functions read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer

from functions.cli.errors import BadInput, ProblemAnswer, complain
from functions.cli.options import PLAIN, Format, Limit, Output, client_of
from functions.cli.views import clusters as views
from functions.cli.views.printing import print_data, print_table

app = typer.Typer(help="Clusters that workloads may be placed on.", **PLAIN)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A registered cluster's name.")]
_MOST = 1_000_000


@app.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="As in the name of its kubeconfig in CLUSTERS_DIR.")],
    label: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="May be repeated.")] = None,
    gpus: Annotated[list[str] | None, typer.Option(metavar="SKU=COUNT", help="Its GPUs; may be repeated.")] = None,
) -> None:
    """Register a cluster, or replace what is known of it. Without --gpus its capacity is unknown."""
    from shared.models.gpu import normalise_sku

    client = client_of(context)
    said: dict[str, Any] = {"labels": _pairs("--label", label or [])}
    counts = _pairs("--gpus", gpus or [], normalise_sku)
    said["gpus"] = {sku: _count(sku, count) for sku, count in counts.items()} or None
    try:
        client.send("POST", "/clusters", {"name": name, **said})
    except ProblemAnswer as problem:
        if problem.status != 409:
            raise
        client.send("PUT", _path(name), said, if_match="*")


@app.command("list")
def list_clusters(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List the clusters, by name."""
    clusters = client_of(context).pages("/clusters", _MOST).items
    if output is Format.TABLE:
        print_table(views.HEADER, [views.cells(cluster) for cluster in clusters])
    else:
        print_data(clusters, output)


@app.command()
def cordon(context: typer.Context, name: Name, output: Output = Format.TABLE) -> None:
    """Place no more workloads on a cluster. What runs there stays, and can be edited, scaled and removed.

    A plan that was proposed before goes on.
    """
    _change(context, name, output, "cordon", "cordoned", "is cordoned")


@app.command()
def uncordon(context: typer.Context, name: Name, output: Output = Format.TABLE) -> None:
    """Place workloads on a cluster again, also on one that was declared lost."""
    _change(context, name, output, "uncordon", "active", "takes workloads")


@app.command()
def remove(context: typer.Context, name: Name, output: Output = Format.TABLE) -> None:
    """Forget a cluster that holds no workloads. Its prices stay, and its kubeconfig is yours to delete."""
    client_of(context).send("DELETE", _path(name))
    if output is not Format.TABLE:
        print_data({"name": name, "removed": True}, output)


@app.command("declare-lost")
def declare_lost(
    context: typer.Context,
    name: Name,
    workloads: Annotated[
        Literal["fail", "reschedule"],
        typer.Option(help="What becomes of its workloads: they fail, or are placed elsewhere."),
    ],
    output: Output = Format.TABLE,
) -> None:
    """Say that a cluster, with all that runs there, does not come back. Works on the database itself.

    Its workloads fail, or are placed on other clusters where policy lets them, and what they held is released. Run it
    again when it was interrupted. Exits with 1 when a workload that should run elsewhere cannot be placed.
    """
    from functions.cli.commands import lost_clusters

    lost_clusters.declare_lost(context, name, workloads, output)


@app.command("orphans")
def list_orphans(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only of this cluster.")] = None,
    limit: Limit = 1000,
    output: Output = Format.TABLE,
) -> None:
    """Show objects on clusters that are managed by Sentinel and that no workload owns, as the last sweep found them.

    Works on the database itself.
    """
    from functions.cli.commands import lost_clusters

    lost_clusters.list_orphans(context, name, limit, output)


@app.command("remove-orphans")
def remove_orphans(
    context: typer.Context,
    name: Name,
    objects: Annotated[
        list[str] | None, typer.Argument(metavar="[KIND/NAMESPACE/NAME]...", help="As `cluster orphans` shows them.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All orphans of the cluster.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Delete orphans. The cluster's next sweep does it, within seconds, unless a workload has come to own them.

    Works on the database itself.
    """
    if bool(objects) is everything:
        raise BadInput("name orphans as `sentinel cluster orphans` shows them, or take all with --all")
    from functions.cli.commands import lost_clusters

    lost_clusters.remove_orphans(context, name, None if everything else objects, output)


def _change(context: typer.Context, name: str, output: Format, verb: str, goal: str, state: str) -> None:
    client = client_of(context)
    before = client.get(_path(name)).document
    cluster = client.send("POST", f"{_path(name)}/{verb}").document
    if before["state"] == goal:
        complain(f"cluster {name} {state} already")
    if output is not Format.TABLE:
        print_data(cluster, output)


def _path(name: str) -> str:
    return f"/clusters/{quote(name, safe='')}"


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


def _count(sku: str, text: str) -> int:
    if not text.isdecimal():
        raise BadInput(f"--gpus {sku}: must be a number, not {text[:80]!r}")
    return int(text)
