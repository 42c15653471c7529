"""`sentinel config`: the servers that the command line knows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from functions.cli import contexts
from functions.cli.client import address_of
from functions.cli.contexts import Context
from functions.cli.credentials import Login
from functions.cli.errors import CommandFailed
from functions.cli.options import PLAIN, Format, Output
from functions.cli.views.printing import print_data, print_table

if TYPE_CHECKING:
    from pydantic import JsonValue

app = typer.Typer(help="Contexts: the servers that commands ask.", **PLAIN)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A context's name.")]
_HEADER = ("CURRENT", "NAME", "SERVER", "USER")


@app.command("get-contexts")
def get_contexts(output: Output = Format.TABLE) -> None:
    """List the contexts, by name."""
    known = contexts.load()
    rows = [(name, one, _user(name, one)) for name, one in sorted(known.by_name.items())]
    if output is Format.TABLE:
        print_table(_HEADER, [("*" * (name == known.current), name, one.server, user) for name, one, user in rows])
    else:
        print_data(
            [
                {"name": name, "current": name == known.current, "server": one.server, "user": user or None}
                for name, one, user in rows
            ],
            output,
        )


@app.command("current-context")
def current_context() -> None:
    """Print the name of the current context."""
    current = contexts.load().current
    if current is None:
        raise CommandFailed("no context is the current one: see `sentinel config use-context`")
    typer.echo(current)


@app.command("use-context")
def use_context(name: Name) -> None:
    """Make a context the current one."""
    contexts.use(name)


@app.command("set-context")
def set_context(
    name: Name,
    server: Annotated[str | None, typer.Option(metavar="URL", help="Needed for a new context.")] = None,
    certificate_authority: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Trust certificates of this authority (PEM).")
    ] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure/--secure", help="Take http:// to another host.", show_default=False)
    ] = None,
) -> None:
    """Add a context, or change one: what is left out stays. The first one becomes the current one."""
    before = contexts.load().by_name.get(name)
    if before is None and server is None:
        raise CommandFailed(f"there is no context {name}: give --server to add it")
    known = before or Context("")
    changed = Context(
        (server or known.server).rstrip("/"),
        str(certificate_authority.absolute()) if certificate_authority else known.certificate_authority,
        known.insecure if insecure is None else insecure,
    )
    address_of(changed.server, insecure=changed.insecure)
    contexts.put(name, changed)


@app.command("delete-context")
def delete_context(name: Name) -> None:
    """Forget a context, with the tokens of its login."""
    context = contexts.load().get(name)
    Login(name, context.server).forget()
    contexts.delete(name)


@app.command()
def view(output: Output = Format.YAML) -> None:
    """Show the configuration. Tokens are not shown."""
    known = contexts.load()
    shown: dict[str, JsonValue] = {name: _view(name, one) for name, one in sorted(known.by_name.items())}
    print_data({"current-context": known.current, "contexts": shown}, Format.YAML if output is Format.TABLE else output)


def _view(name: str, context: Context) -> dict[str, JsonValue]:
    tokens = Login(name, context.server).read()
    login: dict[str, JsonValue] = {} if tokens is None else {"user": tokens.user, "token": "REDACTED"}
    return {**context.as_document(), **login}


def _user(name: str, context: Context) -> str:
    tokens = Login(name, context.server).read()
    return "" if tokens is None else tokens.user
