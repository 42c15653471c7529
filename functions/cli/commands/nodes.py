"""`sentinel nodes`: the nodes of clusters, and which of them take no new pods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from functions.cli.errors import BadInput, CommandFailed, complain
from functions.cli.options import PLAIN, Format, Limit, Output, client_of
from functions.cli.views import nodes as views
from functions.cli.views.printing import print_data, print_table

if TYPE_CHECKING:
    from functions.cli.client import Client

app = typer.Typer(help="Nodes of clusters, and which of them take no new pods.", **PLAIN)

Name = Annotated[str, typer.Argument(metavar="NODE", help="A node's name.")]
Cluster = Annotated[
    str | None,
    typer.Option(help="The node's cluster; needed where several have a node of that name, or none shows it."),
]


@app.command("list")
def list_nodes(
    context: typer.Context,
    cluster: Annotated[str | None, typer.Option(help="Only of this cluster.")] = None,
    excluded: Annotated[bool, typer.Option("--excluded", help="Only those that take no new pods.")] = False,
    limit: Limit = 1000,
    output: Output = Format.TABLE,
) -> None:
    """List the nodes with GPUs, with their faults and what excludes them."""
    only = "true" if excluded else None
    page = client_of(context).pages("/nodes", limit, cluster=cluster, excluded=only)
    _print(page.items, output)
    if page.more:
        complain(f"only the first {limit} are shown; see the rest with --limit, or narrow with --cluster")


@app.command()
def exclude(
    context: typer.Context,
    name: Name,
    cluster: Cluster = None,
    reason: Annotated[str, typer.Option(help="Why: for the audit log, and for whoever finds it so.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """Give a node no new pods until it is cleared. What runs there stays."""
    client = client_of(context)
    path = _path(client, name, cluster)
    _print([client.send("POST", f"{path}/exclude", {"reason": reason}).document], output)


@app.command()
def clear(context: typer.Context, name: Name, cluster: Cluster = None, output: Output = Format.TABLE) -> None:
    """Give a node pods again, whether an operator or a fault has excluded it. A new fault excludes it anew."""
    client = client_of(context)
    _print([client.send("POST", f"{_path(client, name, cluster)}/clear").document], output)


def _path(client: Client, name: str, cluster: str | None) -> str:
    """Raises BadInput where several clusters have a node of that name, and CommandFailed where none shows it."""
    if cluster is None:
        found = client.pages("/nodes", 100, name=name).items
        if not found:
            raise CommandFailed(f"no cluster shows a node {name}; say which one has it with --cluster")
        if len(found) > 1:
            several = ", ".join(one["cluster"] for one in found)
            raise BadInput(f"several clusters have a node {name}: {several}; choose one with --cluster")
        cluster = found[0]["cluster"]
    return f"/nodes/{quote(cluster, safe='')}/{quote(name, safe='')}"


def _print(found: list[Any], output: Format) -> None:
    if output is Format.TABLE:
        print_table(views.HEADER, [views.cells(one) for one in found])
    else:
        print_data(found, output)
