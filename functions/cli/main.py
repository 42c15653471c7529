"""`sentinel`: every command with its arguments and options, in one place; those on policies are next door.

What a command does is imported when it runs: the store and the models take half a second, and `--help` should not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from functions.cli.errors import explained
from functions.cli.options import (
    PLAIN,
    File,
    Files,
    Format,
    Limit,
    Namespace,
    Output,
    Team,
    Timeout,
    Wait,
    patience,
    platform_of,
)
from functions.cli.policy_commands import policies
from shared.models.lifecycle import Phase


class Sentinel(TyperGroup):
    """The root command: errors end in one line and an exit code, and no arguments at all ask for help."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        with explained():
            return super().make_context(info_name, args or ["--help"], parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        with explained():
            return super().invoke(ctx)


app = typer.Typer(name="sentinel", cls=Sentinel, **PLAIN)
events = typer.Typer(help="Dead letters: events that a broker gave up on.", **PLAIN)
clusters = typer.Typer(help="Clusters that workloads may be placed on.", **PLAIN)
ledger = typer.Typer(help="What workloads hold, and whether the books are right.", **PLAIN)
prices = typer.Typer(help="Prices of GPUs, CPU cores and memory.", **PLAIN)
app.add_typer(events, name="events")
app.add_typer(clusters, name="cluster")
app.add_typer(policies, name="policy")
app.add_typer(prices, name="price")
app.add_typer(ledger, name="ledger")

Name = Annotated[str, typer.Argument(metavar="NAME|ID", help="A workload's name or id.")]


@app.callback()
def root(
    context: typer.Context,
    state: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The state directory of a running platform.  [env: SENTINEL_STATE]"),
    ] = None,
) -> None:
    """Submits AI workloads to Sentinel, follows them, and tends the record.

    Works on the platform in --state DIR; without that, on DATABASE_URL (events are then published to K_SINK, or
    by the relay); without that, on the platform in SENTINEL_STATE, or in .sentinel.

    \b
    Exit codes:
      0    done; with --wait: and the workload is healthy, complete or removed, as was wished
      1    failed: not found, rejected, denied, rolled back, timed out, the platform is away
      2    not understood, or bad input; nothing was changed
      130  interrupted
    """
    context.obj = state


@app.command()
def submit(
    context: typer.Context, file: Files, wait: Wait = False, timeout: Timeout = None, output: Output = Format.TABLE
) -> None:
    """Submit workloads, all in the files or none, and print their ids."""
    seconds = patience(wait, timeout)
    from functions.cli.commands import submissions

    submissions.submit(platform_of(context), file, seconds, output)


@app.command()
def remove(
    context: typer.Context,
    name: Name,
    team: Annotated[str, typer.Option(help="The workload's team.")] = "default",
    namespace: Annotated[str, typer.Option(help="The workload's namespace.")] = "default",
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = Format.TABLE,
) -> None:
    """Withdraw a workload: what it runs is deleted."""
    seconds = patience(wait, timeout)
    from functions.cli.commands import submissions, workloads

    submissions.remove(platform_of(context), workloads.Reference(name, team, namespace), seconds, output)


@app.command()
def get(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME|ID]", help="Only this one, in detail.")] = None,
    team: Team = None,
    namespace: Namespace = None,
    phase: Annotated[Phase | None, typer.Option(help="Only in this phase.")] = None,
    limit: Limit = 1000,
    output: Output = Format.TABLE,
) -> None:
    """Show workloads as they stand."""
    from functions.cli.commands import workloads

    if name is None:
        workloads.get(platform_of(context), team, namespace, phase, limit, output)
    else:
        workloads.get_one(platform_of(context), workloads.Reference(name, team, namespace), output)


@app.command()
def trace(
    context: typer.Context, name: Name, team: Team = None, namespace: Namespace = None, output: Output = Format.TABLE
) -> None:
    """Show what happened to a workload, oldest first."""
    from functions.cli.commands import timeline, workloads

    timeline.trace(platform_of(context), workloads.Reference(name, team, namespace), output)


@app.command()
def queue(context: typer.Context, limit: Limit = 1000, output: Output = Format.TABLE) -> None:
    """Show the plans that wait for quota or capacity, first goes first.

    What fits may go past a plan that waits for something that it takes, eight times at most, and past others freely.
    """
    from functions.cli.commands import queue as work

    work.show_all(platform_of(context), limit, output)


@events.command("list")
def list_events(
    context: typer.Context,
    redriven: Annotated[bool, typer.Option("--redriven", help="Also those that were sent again.")] = False,
    limit: Limit = 1000,
    output: Output = Format.TABLE,
) -> None:
    """List dead letters, oldest first."""
    from functions.cli.commands import events as work

    work.show_all(platform_of(context), redriven, limit, output)


@events.command("show")
def show_event(
    context: typer.Context,
    letter: Annotated[str, typer.Argument(metavar="ID", help="A dead letter's id.")],
    output: Output = Format.TABLE,
) -> None:
    """Show one dead letter with its attributes and its data as they came."""
    from functions.cli.commands import events as work

    work.show(platform_of(context), letter, output)


@events.command("redrive")
def redrive_events(
    context: typer.Context,
    letter: Annotated[str | None, typer.Argument(metavar="[ID]", help="A dead letter's id.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that were not sent again yet.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Send the same event again, under its own id, and let consumers count their attempts from zero."""
    from functions.cli.commands import events as work

    work.redrive(platform_of(context), letter, everything, output)


@clusters.command("add")
def add_cluster(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="As in the name of its kubeconfig in CLUSTERS_DIR.")],
    label: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="May be repeated.")] = None,
    gpus: Annotated[list[str] | None, typer.Option(metavar="SKU=COUNT", help="Its GPUs; may be repeated.")] = None,
) -> None:
    """Register a cluster, or replace what is known of it. Without --gpus its capacity is unknown."""
    from functions.cli.commands import clusters as work

    work.add(platform_of(context), name, label or [], gpus or [])


@clusters.command("list")
def list_clusters(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List the clusters."""
    from functions.cli.commands import clusters as work

    work.show_all(platform_of(context), output)


@prices.command("set")
def set_prices(context: typer.Context, file: File) -> None:
    """Set prices, all in the file or none: kind,sku,usd_per_hour,source,priced_on and, if wanted, cluster."""
    from functions.cli.commands import prices as work

    work.set_all(platform_of(context), file)


@prices.command("list")
def list_prices(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List the prices."""
    from functions.cli.commands import prices as work

    work.show_all(platform_of(context), output)


@ledger.command("check")
def check_ledger(
    context: typer.Context,
    fix: Annotated[bool, typer.Option("--fix", help="Repair what differs, one workload a transaction.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Compare the ledger with what Sentinel's revisions say and, where kubeconfigs are at hand, with the clusters.

    Kubeconfigs are those in CLUSTERS_DIR, or of the platform in its state directory. Exits with 1 when anything
    differs that was not repaired.
    """
    from functions.cli.commands import ledger as work

    work.check(platform_of(context), fix, output)
