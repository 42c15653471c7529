"""Options that several commands share. Imported at every start, so it imports next to nothing."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from functions.cli.errors import BadInput

if TYPE_CHECKING:
    from functions.cli.client import Client
    from functions.cli.connection import PlatformReference

PLAIN: dict[str, Any] = {"rich_markup_mode": None, "pretty_exceptions_enable": False}
"""How every command group is made: errors are ours to explain."""

DEFAULT_TIMEOUT = "5m"
_MOST_DAYS = 36_500  # any moment before now by so much is still one of the calendar


class Chosen(NamedTuple):
    """What the options before the command say: which server is meant, and how to trust it."""

    state: Path | None = None
    server: str | None = None
    context: str | None = None
    certificate_authority: str | None = None
    insecure: bool = False


class Format(StrEnum):
    """How a command prints what it found."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Output = Annotated[Format, typer.Option("-o", "--output", help="How to print it.")]
Files = Annotated[list[str], typer.Option("-f", "--file", metavar="FILE|-", help="YAML or JSON; may be repeated.")]
File = Annotated[str, typer.Option("-f", "--file", metavar="FILE|-", help="CSV.")]
Name = Annotated[str, typer.Argument(metavar="NAME|ID", help="A workload's name or id.")]
Team = Annotated[str | None, typer.Option(help="Only this team's.")]
Namespace = Annotated[str | None, typer.Option(help="Only in this namespace.")]
Limit = Annotated[int, typer.Option(min=1, max=1_000_000, help="At most this many.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow until nothing is left to do, and exit with the outcome.")]
Timeout = Annotated[
    str | None, typer.Option(metavar="DURATION", help=f"How long to wait: 90s, 5m, PT1H.  [default: {DEFAULT_TIMEOUT}]")
]


def patience(wait: bool, timeout: str | None) -> float | None:
    """How many seconds to wait, None for not at all. Raises BadInput."""
    if not wait:
        if timeout is not None:
            raise BadInput("--timeout needs --wait")
        return None
    return seconds("--timeout", timeout or DEFAULT_TIMEOUT)


def seconds(option: str, text: str) -> float:
    """The seconds of a duration: 90s, 1h30m, 30d, PT90S. Raises BadInput that names the option."""
    from shared.models import durations

    try:
        found = durations.parse(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from None
    if found.days > _MOST_DAYS:
        raise BadInput(f"{option}: must be at most {_MOST_DAYS}d")
    return found.total_seconds()


def platform_of(context: typer.Context) -> PlatformReference:
    """The platform that a command of an operator works on. Raises BadInput and CommandFailed."""
    from functions.cli import connection

    return connection.locate(context.obj, os.environ)


def client_of(context: typer.Context) -> Client:
    """A client of the server that a command asks. Raises BadInput, CommandFailed and ConfigurationError."""
    from functions.cli import servers
    from functions.cli.client import Client

    client = Client(servers.locate(context.obj, os.environ))
    context.call_on_close(client.close)
    return client
