"""`sentinel login`, `logout` and `whoami`: as whom commands ask."""

from __future__ import annotations

import os
import re
import sys
from typing import Annotated

import typer

from functions.cli import contexts, servers, sessions
from functions.cli.client import Client, Server, address_of
from functions.cli.contexts import Context, Contexts
from functions.cli.credentials import GivenToken, Login
from functions.cli.errors import BadInput, CommandFailed, Interrupted, ServerAway, complain
from functions.cli.options import PLAIN, Chosen, Format, Output, client_of
from functions.cli.views.printing import print_data, print_table

app = typer.Typer(**PLAIN)

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_HEADER = ("ACTOR", "ROLE", "TEAM")


@app.command()
def login(
    context: typer.Context,
    user: Annotated[str, typer.Argument(metavar="USER", help="The user's name at the server.")],
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
) -> None:
    """Log in with a password, and keep the tokens for the commands that follow.

    With --server, the server becomes the current context, named after its host. A login lasts as long as the server
    lets it; commands renew its token by themselves.
    """
    name, known = _context(context.obj)
    server = Server(
        known.server, known.server, GivenToken(None, "try again"), known.certificate_authority, known.insecure
    )
    client = Client(server)
    context.call_on_close(client.close)
    tokens = sessions.log_in(client, known.server, user, _password(user, password_stdin))
    Login(name, known.server).keep(tokens)
    contexts.put(name, known, use=context.obj.context is None)
    complain(f"logged in as {user} at {known.server}, context {name}")


@app.command()
def logout(context: typer.Context) -> None:
    """End a login, at the server and here."""
    name, known = _context(context.obj)
    kept = Login(name, known.server)
    tokens = kept.read()
    if tokens is None:
        complain(f"nobody is logged in at {known.server}")
        return
    client = Client(Server(known.server, known.server, kept, known.certificate_authority, known.insecure))
    context.call_on_close(client.close)
    kept.forget()
    try:
        sessions.log_out(client, tokens)
    except ServerAway as error:
        raise CommandFailed(
            f"{error}; the tokens are gone from here, and count at the server until they expire"
        ) from None


@app.command()
def whoami(context: typer.Context, output: Output = Format.TABLE) -> None:
    """Show as whom commands ask, and the roles that are bound to them."""
    me = client_of(context).get("/auth/me").document
    if output is not Format.TABLE:
        print_data(me, output)
        return
    bound = [(me["actor"], one["role"], one["team"] or "all") for one in me["roles"]]
    print_table(_HEADER, bound or [(me["actor"], "", "")])


def _context(chosen: Chosen) -> tuple[str, Context]:
    """The context that is meant, which may not be in the configuration yet. Raises CommandFailed."""
    known = contexts.load()
    url = (chosen.server or ("" if chosen.context else os.environ.get("SENTINEL_SERVER", ""))).rstrip("/")
    if url:
        name = known.named_like(url)
        before = known.by_name[name] if name else Context(url)
        context = Context(
            url,
            chosen.certificate_authority or before.certificate_authority,
            chosen.insecure or before.insecure,
        )
        address = address_of(url, insecure=context.insecure)
        return name or _new_name(f"{address.authority}{address.path}", known), context
    state = None if chosen.context else servers.state_directory(chosen.state, os.environ)
    if state is not None:
        raise CommandFailed(f"the platform in {state} needs no login; log in elsewhere with --server or --context")
    name = chosen.context or known.current
    if name is None:
        raise CommandFailed("no server is known: give --server URL")
    return name, known.get(name)


def _new_name(address: str, known: Contexts) -> str:
    """A name for the context of an address: sentinel.example.com, localhost-8080."""
    name = _NOT_IN_A_NAME.sub("-", address).strip("-")[:80]
    return next(one for one in (name, *(f"{name}-{n}" for n in range(2, 1000))) if one not in known.by_name)


def _password(user: str, from_stdin: bool) -> str:
    """Asked for without an echo. Raises BadInput where nobody can be asked, and for a password that is empty."""
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        if not sys.stdin.isatty():
            raise BadInput("there is no terminal to ask for the password: give it with --password-stdin")
        import getpass

        try:
            password = getpass.getpass(f"Password of {user}: ")
        except (EOFError, KeyboardInterrupt):
            raise Interrupted("nobody was logged in") from None
    if not password:
        raise BadInput("the password is empty")
    return password
