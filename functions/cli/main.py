"""`sentinel`: the root command, and where its commands are.

A command is imported when it is invoked: the models and the store take longer than `--help` should, and longer than
most of what another command does.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from functions.cli.errors import explained
from functions.cli.options import PLAIN, Chosen


class Deferred(NamedTuple):
    """A command or a group of commands that is imported when it is invoked. module: in functions.cli.commands."""

    module: str
    help: str


SINGLE_COMMANDS = {
    "submit": Deferred("submissions", "Submit workloads, and print their ids, in order."),
    "remove": Deferred("submissions", "Withdraw a workload: what it runs is deleted."),
    "get": Deferred("workloads", "Show workloads with their phase."),
    "trace": Deferred("timeline", "Show what happened to a workload, oldest first."),
    "login": Deferred("sessions", "Log in with a password, and keep the tokens for the commands that follow."),
    "logout": Deferred("sessions", "End a login, at the server and here."),
    "whoami": Deferred("sessions", "Show as whom commands ask, and the roles that are bound to them."),
    "cost": Deferred("cost", "Show what teams, workloads, SKUs or clusters have cost."),
    "queue": Deferred("queue", "Show the plans that wait for quota or capacity, first goes first."),
}
GROUPS = {
    "events": Deferred("events", "Dead letters: events that a broker gave up on."),
    "cluster": Deferred("clusters", "Clusters that workloads may be placed on."),
    "gpus": Deferred("gpus", "GPUs that workloads have been given."),
    "nodes": Deferred("nodes", "Nodes of clusters, and which of them take no new pods."),
    "plan": Deferred("plans", "Action plans, and the answer of a person to one that awaits approval."),
    "policy": Deferred("policies", "Policies that plans are held against."),
    "price": Deferred("prices", "Prices of GPUs, CPU cores and memory."),
    "ledger": Deferred("ledger", "What workloads hold, and whether the ledger is right."),
    "audit": Deferred("audit", "The audit log: verify it, export it."),
    "config": Deferred("contexts", "Contexts: the servers that commands ask."),
}


class Sentinel(TyperGroup):
    """The root command: errors end in one line and an exit code, and no arguments at all ask for help."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, deferred in {**SINGLE_COMMANDS, **GROUPS}.items():
            self.add_command(TyperCommand(name, help=deferred.help, rich_markup_mode=None))

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        with explained():
            return super().make_context(info_name, args or ["--help"], parent, **extra)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command itself in place of its entry in the list."""
        name, entry, rest = super().resolve_command(ctx, args)
        return name, entry if name is None else load(name), rest

    def invoke(self, ctx: Any) -> Any:
        with explained():
            return super().invoke(ctx)


def load(name: str) -> Any:
    """Imports a command, or a group of commands."""
    deferred = SINGLE_COMMANDS.get(name) or GROUPS[name]
    group = get_group(import_module(f"functions.cli.commands.{deferred.module}").app)
    return group.commands[name] if name in SINGLE_COMMANDS else group


app = typer.Typer(name="sentinel", cls=Sentinel, **PLAIN)


@app.callback()
def root(
    context: typer.Context,
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="The address of a server.  [env: SENTINEL_SERVER]")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--context", metavar="NAME", help="A context; see `sentinel config`.")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The state directory of a platform on this machine.  [env: SENTINEL_STATE]"),
    ] = None,
    certificate_authority: Annotated[
        str | None, typer.Option(metavar="FILE", help="Trust servers with certificates of this authority (PEM).")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Take http:// to another host.")] = False,
) -> None:
    """Submits AI workloads to Sentinel, follows them, and keeps policies, prices, clusters and the ledger.

    Asks the server of --server, --context or --state; without those, of SENTINEL_SERVER, of the platform in
    SENTINEL_STATE or in .sentinel, or of the current context, in this order. SENTINEL_TOKEN is the token; without it,
    that of `sentinel login`, or of the platform on this machine.

    \b
    Exit codes:
      0    done; with --wait: and the workload is healthy, complete or removed, as was asked for
      1    failed: not found, rejected, denied, rolled back, timed out, the server is unavailable
      2    not understood, or bad input; nothing was changed
      130  interrupted
    """
    context.obj = Chosen(state, server, name, certificate_authority, insecure)
